package crashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/varvelog/varve/vfs"
)

// FS is the operating system's file system with a journal of what is durable. It is safe for
// concurrent use.
type FS struct {
	vfs.OS
	journal *journal
}

// Open returns a file system whose journal is in dir, a directory of its own on the volume of the
// data.
func Open(dir string) (*FS, error) {
	j, err := openJournal(dir)
	if err != nil {
		return nil, fmt.Errorf("open the journal %s: %w", dir, err)
	}
	return &FS{journal: j}, nil
}

// OpenFile implements vfs.FS.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if err := f.broken("open", name); err != nil {
		return nil, err
	}
	_, statErr := os.Lstat(name)
	opened, err := f.OS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	inner := opened.(osFile)
	inode, size, err := identify(inner)
	switch {
	case err != nil:
	case errors.Is(statErr, fs.ErrNotExist):
		err = f.journal.add(entry{Kind: created, Inode: inode, Dir: filepath.Dir(name), Name: name})
	case flag&os.O_TRUNC != 0:
		err = f.journal.add(entry{Kind: truncated, Inode: inode})
	default:
		err = f.journal.meet(inode, size)
	}
	if err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return &file{osFile: inner, fs: f, name: name, inode: inode}, nil
}

// Rename implements vfs.FS.
func (f *FS) Rename(oldName, newName string) error {
	if err := f.broken("rename", oldName); err != nil {
		return err
	}
	if err := f.journal.addKeeping(entry{Kind: renamed, Dir: filepath.Dir(newName), Name: newName, From: oldName}); err != nil {
		return err
	}
	return f.OS.Rename(oldName, newName)
}

// Remove implements vfs.FS.
func (f *FS) Remove(name string) error {
	if err := f.broken("remove", name); err != nil {
		return err
	}
	if entries, err := os.ReadDir(name); err == nil && len(entries) > 0 {
		return &fs.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	if _, err := os.Lstat(name); err != nil {
		return err
	}
	if err := f.journal.addKeeping(entry{Kind: removed, Dir: filepath.Dir(name), Name: name}); err != nil {
		return err
	}
	return f.OS.Remove(name)
}

// MkdirAll implements vfs.FS.
func (f *FS) MkdirAll(name string, perm fs.FileMode) error {
	if err := f.broken("mkdir", name); err != nil {
		return err
	}
	var missing []string
	for dir := filepath.Clean(name); ; dir = filepath.Dir(dir) {
		if _, err := os.Lstat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		missing = append(missing, dir)
	}
	for _, dir := range slices.Backward(missing) {
		if err := f.journal.add(entry{Kind: madeDir, Dir: filepath.Dir(dir), Name: dir}); err != nil {
			return err
		}
	}
	return f.OS.MkdirAll(name, perm)
}

// ReadDir implements vfs.FS.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	if err := f.broken("readdir", name); err != nil {
		return nil, err
	}
	return f.OS.ReadDir(name)
}

// SyncDir implements vfs.FS.
func (f *FS) SyncDir(name string) error {
	if err := f.broken("syncdir", name); err != nil {
		return err
	}
	if err := f.OS.SyncDir(name); err != nil {
		return err
	}
	return f.journal.add(entry{Kind: dirSynced, Dir: filepath.Clean(name)})
}

// Lock implements vfs.FS.
func (f *FS) Lock(name string) (io.Closer, error) {
	if err := f.broken("lock", name); err != nil {
		return nil, err
	}
	return f.OS.Lock(name)
}

// osFile is the set of methods of the files of vfs.OS.
type osFile interface {
	vfs.File
	vfs.WritebackStarter
	vfs.Preallocator
	vfs.Reloader
	vfs.OSFiler
}

// file is an open file of an FS.
type file struct {
	osFile
	fs    *FS
	name  string
	inode uint64
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.broken("read", f.name); err != nil {
		return 0, err
	}
	return f.osFile.ReadAt(p, off)
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.broken("write", f.name); err != nil {
		return 0, err
	}
	return f.osFile.WriteAt(p, off)
}

// Truncate implements vfs.File.
func (f *file) Truncate(size int64) error {
	if err := f.fs.broken("truncate", f.name); err != nil {
		return err
	}
	if err := f.fs.journal.add(entry{Kind: truncated, Inode: f.inode, Size: size}); err != nil {
		return err
	}
	return f.osFile.Truncate(size)
}

// Sync implements vfs.File. Bytes written while it runs do not count as durable.
func (f *file) Sync() error {
	if err := f.fs.broken("sync", f.name); err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	if err = f.osFile.Sync(); err != nil {
		return err
	}
	return f.fs.journal.add(entry{Kind: synced, Inode: f.inode, Size: size})
}

// identify returns the file's inode, which does not change with its name, and its length.
func identify(f vfs.OSFiler) (inode uint64, size int64, err error) {
	info, err := f.OSFile().Stat()
	if err != nil {
		return 0, 0, err
	}
	return info.Sys().(*syscall.Stat_t).Ino, info.Size(), nil
}
