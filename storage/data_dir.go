package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/vfs"
)

// Names in a data directory.
const (
	lockFile        = ".lock"
	cleanFile       = ".kafka_cleanshutdown"
	failedFile      = ".failed"
	suffixDeleteDir = "-delete"
)

// dataDir is one directory of log.dirs. After a failure that leaves the content of its disk
// unknown, every operation on its logs fails.
type dataDir struct {
	fs   vfs.FS
	path string
	id   [16]byte // directory.id of meta.properties
	lock io.Closer
	meta []byte // meta.properties as found at startup; nil if there was none
	// recorded: it has the file of known directories, so it was used before.
	recorded bool
	// logs is the number of logs in it; guarded by Manager.mu.
	logs int

	// limbo lists logs that were being moved out of this directory when the broker crashed, and
	// whose target directory is offline. They cannot be recovered yet, so their checkpoint entries
	// are kept and the shutdown is never marked clean. Set only at startup.
	limbo map[partitionKey]bool
	// raising has the new log start of each log that is about to restart there, see raiseStart.
	// Guarded by checkpoints.
	raising map[partitionKey]int64

	// failure is why the directory is out of service; nil while it works. It is set once.
	failure atomic.Pointer[error]
	// leftOut: it failed while the manager opened.
	leftOut bool
	// failed reports a failure to the manager. It has room for every directory.
	failed chan<- *dataDir
	// gone is closed when the directory fails while it is in service.
	gone   chan struct{}
	marked atomic.Bool // the marker of a failure was written

	watch   vfs.Watch   // counts the operations under way on its disk
	stalled atomic.Bool // one of them has not returned in time
	// full: its volume is above the high watermark, and no segment is left that may be deleted.
	full atomic.Bool
	hung chan struct{}  // closed when stalled becomes true
	work sync.WaitGroup // the goroutines of runDir

	flushes        flushQueue
	checkpointWake chan struct{} // capacity 1: write the checkpoints soon
	// checkpointing admits one writer of all its checkpoints at a time. It is taken after the
	// tokens of a log and before every other lock (locks.go).
	checkpointing invariants.Mutex[rankCheckpointing]

	commits   *committer
	writeback *writeback
	room      room
	moveWake  chan struct{} // capacity 1: a log is to be moved here
	removed   removals

	// checkpoints guards the checkpoint files and their content. It is taken after a log's lock:
	// its holder must not wait for one.
	checkpoints struct {
		invariants.Mutex[rankCheckpoints]
		// written has the content of each file; nil: the file is missing or damaged.
		written map[string]map[partitionKey]int64
	}
	// clean: the last shutdown was clean. hasRecovery: the recovery checkpoint was present and
	// sound.
	clean, hasRecovery bool
	// distrust: an fsync failed in the last process. The kernel may still return data that it could
	// not write, consider it written, and never write it. Cleared when all logs were recovered.
	distrust bool
	// failedBefore keeps the value that distrust had at startup.
	failedBefore bool
}

func newDataDir(e *env, path string, o *Options, failed chan<- *dataDir) *dataDir {
	d := &dataDir{fs: e.fs, path: filepath.Clean(path), failed: failed, writeback: newWriteback(o.WritebackBytes), moveWake: make(chan struct{}, 1)}
	d.room.fs, d.room.path, d.room.reserve = e.fs, d.path, o.ReserveBytes
	d.gone, d.hung, d.checkpointWake = make(chan struct{}), make(chan struct{}), make(chan struct{}, 1)
	d.flushes.queued, d.flushes.wake = map[*Log]bool{}, make(chan struct{}, 1)
	d.commits = newCommitter(e, d)
	d.checkpoints.written = map[string]map[partitionKey]int64{}
	return d
}

// fail takes the directory out of service; only the first failure counts. It leaves a marker for
// the next process. The marker is not synced: after a reboot the kernel cannot return data that the
// disk does not have.
func (d *dataDir) fail(err error) {
	// Before the marker: writing that may take long on a failing disk.
	d.giveUp(err)
	if !d.marked.Swap(true) {
		_ = vfs.WriteFile(d.fs, filepath.Join(d.path, failedFile), []byte(err.Error()+"\n"), 0o644)
	}
}

// giveUp ends the service of the directory without touching its disk; only the first failure
// counts.
func (d *dataDir) giveUp(err error) {
	if d.failure.CompareAndSwap(nil, &err) {
		close(d.gone)
		d.failed <- d
	}
}

// checkpointSoon wakes the checkpoint loop.
func (d *dataDir) checkpointSoon() {
	select {
	case d.checkpointWake <- struct{}{}:
	default:
	}
}

// trustAgain removes the marker of a failure. It must not be called before all logs were recovered.
func (d *dataDir) trustAgain() error {
	if !d.distrust {
		return nil
	}
	d.distrust = false
	return d.fs.Remove(filepath.Join(d.path, failedFile))
}

// err returns nil while the directory works, and an ErrStorage after it has failed.
func (d *dataDir) err() error {
	if p := d.failure.Load(); p != nil {
		return &diskError{class: ErrStorage, cause: *p}
	}
	return nil
}

// flushNames is syncNames for callers that can try again later: if the directory could not be
// opened, that is not a failure of the disk.
func (d *dataDir) flushNames(fsys vfs.FS) error {
	err := fsys.SyncDir(d.path)
	if err == nil || passing(err) {
		return classify(err)
	}
	d.fail(fmt.Errorf("sync directory %s: %w", d.path, err))
	return d.err()
}

// syncNames makes the names of the logs' directories durable. Any error fails the directory,
// because the caller cannot go back.
func (d *dataDir) syncNames(fsys vfs.FS) error {
	if err := fsys.SyncDir(d.path); err != nil {
		d.fail(fmt.Errorf("sync directory %s: %w", d.path, err))
		return d.err()
	}
	return nil
}

// unusable explains in one line why a directory cannot be opened and what the operator can do.
func (d *dataDir) unusable(err error) error {
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return fmt.Errorf("%w: %s is used by another process: stop that broker or choose another directory", ErrDirLocked, d.path)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%w: %s cannot be written (%w): change its owner or mode, or choose another directory", ErrDirInvalid, d.path, err)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%w: %s is not a directory: choose another one", ErrDirInvalid, d.path)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%w: %s is on a full disk: make space or choose another directory", ErrDiskFull, d.path)
	}
	return fmt.Errorf("%w: %s: %w", ErrDirInvalid, d.path, err)
}

// open creates the directory if necessary, locks it, and reads its owner. Then it durably removes
// the marker of a clean shutdown: if this process crashes, the next one must recover. All its
// errors except ErrDirLocked mean that the disk fails.
func (d *dataDir) open(fsys vfs.FS) error {
	if err := d.make(fsys); err != nil {
		return d.unusable(err)
	}
	lock, err := fsys.Lock(filepath.Join(d.path, lockFile))
	if err != nil {
		return d.unusable(err)
	}
	d.lock = lock
	d.meta, err = vfs.ReadFile(fsys, filepath.Join(d.path, metaFile), 1<<16)
	if ignoreNotExist(err) != nil {
		return d.unusable(err)
	}
	if _, err = fsys.Stat(filepath.Join(d.path, failedFile)); err == nil {
		d.distrust, d.failedBefore = true, true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return d.unusable(err)
	}
	marker := filepath.Join(d.path, cleanFile)
	switch _, err = fsys.Stat(marker); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return d.unusable(err)
	}
	d.clean = true
	if err = errors.Join(fsys.Remove(marker), fsys.SyncDir(d.path)); err != nil {
		return d.unusable(err)
	}
	return nil
}

// make creates the directory and its parents, so that they still exist after a crash of the
// machine.
func (d *dataDir) make(fsys vfs.FS) error {
	var parents []string
	for path := d.path; path != filepath.Dir(path); path = filepath.Dir(path) {
		if _, err := fsys.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		parents = append(parents, filepath.Dir(path))
	}
	if err := fsys.MkdirAll(d.path, 0o755); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := fsys.SyncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

// markClean records that all data is on disk and in order. Nothing may be written to the directory
// afterwards.
func (d *dataDir) markClean(fsys vfs.FS) error {
	return vfs.ReplaceFile(fsys, filepath.Join(d.path, cleanFile), []byte(`{"version":0,"brokerEpoch":-1}`), 0o644, true)
}

// unlock allows other processes to use the directory.
func (d *dataDir) unlock() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}

// checkpointed holds the content of a directory's four checkpoints.
type checkpointed struct {
	recovery, start, hw, cleaned map[partitionKey]int64
}

// readCheckpoints reads all checkpoints. A damaged one counts as missing.
func (d *dataDir) readCheckpoints(fsys vfs.FS, logger *slog.Logger) checkpointed {
	read := func(name string) (map[partitionKey]int64, bool) {
		offsets, err := d.readCheckpoint(fsys, name)
		if err != nil {
			logger.Warn("pass over damaged checkpoint", errorAttr(err))
		}
		return offsets, err == nil && offsets != nil
	}
	var c checkpointed
	c.recovery, d.hasRecovery = read(recoveryFile)
	c.start, _ = read(startFile)
	c.hw, _ = read(hwFile)
	c.cleaned, _ = read(cleanerFile)
	return c
}

// of returns what the checkpoints have of one partition. Without a sound recovery checkpoint, gaps
// anywhere in the log may come from Kafka's compaction.
func (c checkpointed) of(d *dataDir, key partitionKey) found {
	gapsBelow := c.cleaned[key]
	if !d.hasRecovery {
		gapsBelow = math.MaxInt64
	}
	return found{
		clean:         d.clean && !d.distrust,
		reload:        d.distrust,
		gapsBelow:     gapsBelow,
		recoveryPoint: c.recovery[key],
		start:         c.start[key],
		hw:            c.hw[key],
		cleaned:       c.cleaned[key],
	}
}

// parseDirName parses topic and partition from a directory's name. ok is false if the name is not
// that of a partition's directory.
func parseDirName(name string) (key partitionKey, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 || i == len(name)-1 {
		return key, false
	}
	partition, err := strconv.ParseUint(name[i+1:], 10, 31)
	if err != nil || partition > math.MaxInt32 || name[i+1] == '+' || (name[i+1] == '0' && len(name)-i > 2) {
		return key, false
	}
	return partitionKey{name[:i], int32(partition)}, true
}

// partitions lists the directories of partitions, and those of deleted partitions.
func (d *dataDir) partitions(fsys vfs.FS) (keys []partitionKey, deleted []string, err error) {
	entries, err := fsys.ReadDir(d.path)
	if err != nil {
		return nil, nil, d.unusable(err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if strings.HasSuffix(e.Name(), suffixDeleteDir) {
			deleted = append(deleted, filepath.Join(d.path, e.Name()))
		} else if key, ok := parseDirName(e.Name()); ok {
			keys = append(keys, key)
		}
	}
	return keys, deleted, nil
}
