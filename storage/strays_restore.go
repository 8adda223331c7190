package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/varvelog/varve/vfs"
)

// RestoreStray turns a stray into a log again, for the next start of the broker. No broker may be
// running in its data directory. The cluster's metadata must have the log's topic, by id and name,
// or that start sets the log aside again.
//
// The data directory loses the marker of a clean shutdown first, so that the start recovers the log
// from its recovery point on. The rename comes last: a crash before it leaves the stray as it was.
// The path of the result is the log's. A nil FS is the operating system's.
func RestoreStray(fsys vfs.FS, path string) (Stray, error) {
	if fsys == nil {
		fsys = vfs.OS{}
	}
	path = filepath.Clean(path)
	if !strings.HasSuffix(path, suffixStray) {
		return Stray{}, fmt.Errorf("%w: %s is not the directory of a log that was set aside: its name ends in %s", ErrDirInvalid, path, suffixStray)
	}
	dir := filepath.Dir(path)
	if _, err := fsys.Stat(filepath.Join(dir, metaFile)); err != nil {
		return Stray{}, fmt.Errorf("%w: %s is no data directory: %w", ErrDirInvalid, dir, err)
	}
	lock, err := fsys.Lock(filepath.Join(dir, lockFile))
	if errors.Is(err, vfs.ErrLocked) {
		return Stray{}, fmt.Errorf("%w: %s is used by another process: stop that broker first", ErrDirLocked, dir)
	} else if err != nil {
		return Stray{}, fmt.Errorf("lock %s: %w", dir, err)
	}
	defer func() { _ = lock.Close() }() // the lock ends with the process at the latest
	if _, err = fsys.Stat(path); err != nil {
		return Stray{}, err
	}
	s := readStray(fsys, path)
	if s.Topic == "" {
		return s, fmt.Errorf("%w: neither %s nor the name of %s says whose log it is: rename it to TOPIC-PARTITION by hand", ErrDirInvalid, strayFile, path)
	}
	key := partitionKey{s.Topic, s.Partition}
	if err = noLogOf(fsys, dir, key); err != nil {
		return s, err
	}
	if err = ignoreNotExist(fsys.Remove(filepath.Join(dir, cleanFile))); err != nil {
		return s, err
	}
	if err = restoreCheckpoints(fsys, dir, path, key); err != nil {
		return s, err
	}
	s.Path = filepath.Join(dir, key.String())
	if err = fsys.Rename(path, s.Path); err != nil {
		return s, err
	}
	// The file has no meaning in a log's directory.
	_ = fsys.Remove(filepath.Join(s.Path, strayFile))
	return s, fsys.SyncDir(dir)
}

// noLogOf returns an error if any of the broker's directories has a log of the partition.
func noLogOf(fsys vfs.FS, dir string, key partitionKey) error {
	dirs := map[string]bool{dir: true}
	content, err := vfs.ReadFile(fsys, filepath.Join(dir, dirsFile), 1<<20)
	if ignoreNotExist(err) != nil {
		return err
	}
	if err == nil {
		known, parseErr := parseKnownDirs(content)
		if parseErr != nil {
			return fmt.Errorf("read %s: %w", filepath.Join(dir, dirsFile), parseErr)
		}
		for _, other := range known {
			dirs[other] = true
		}
	}
	for other := range dirs {
		name := filepath.Join(other, key.String())
		if _, err = fsys.Stat(name); err == nil {
			return fmt.Errorf("%w: the partition has a log already, %s: move that away first if this one is to take its place", ErrDirInvalid, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// restoreCheckpoints writes the partition's old lines back. A checkpoint that is missing or damaged
// is left alone, and the start does without it.
func restoreCheckpoints(fsys vfs.FS, dir, stray string, key partitionKey) error {
	v, _ := readStrayValue(fsys, stray) // without it recovery scans from the first segment on
	for name, offset := range map[string]int64{
		recoveryFile: v.RecoveryPoint, startFile: v.LogStartOffset, hwFile: v.HighWatermark, cleanerFile: v.CleanedUpTo,
	} {
		file := filepath.Join(dir, name)
		content, err := vfs.ReadFile(fsys, file, maxCheckpoint)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return err
		}
		offsets, err := parseCheckpoint(content)
		if err != nil {
			continue // the start ignores it too
		}
		delete(offsets, key)
		if offset > 0 {
			offsets[key] = offset
		}
		if err = vfs.ReplaceFile(fsys, file, formatCheckpoint(offsets), 0o644, true); err != nil {
			return fmt.Errorf("write %s: %w", file, err)
		}
	}
	return nil
}
