package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ReadFile reads a whole file. A file longer than limit bytes is an error.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if size > limit {
		return nil, errors.Join(fmt.Errorf("read %s: %d bytes are more than the %d expected at most", name, size, limit), f.Close())
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return b[:n], errors.Join(err, f.Close())
}

// WriteFile creates a file or overwrites it in place. It does not make the file durable.
func WriteFile(fsys FS, name string, data []byte, perm fs.FileMode) error {
	f, err := fsys.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(data, 0); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

// ReplaceFile replaces the content of a file: a reader, even one after a crash of the process, sees
// either the old content or the new. The new content is written to a temporary file, which is then
// renamed. If durable is set, the new content survives a crash of the machine once ReplaceFile has
// returned. Otherwise such a crash may leave the file torn.
func ReplaceFile(fsys FS, name string, data []byte, perm fs.FileMode, durable bool) error {
	tmp := name + ".tmp"
	f, err := fsys.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(data, 0)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, fsys.Remove(tmp))
	}
	if err = fsys.Rename(tmp, name); err != nil {
		return err
	}
	if durable {
		return fsys.SyncDir(filepath.Dir(name))
	}
	return nil
}

// Preallocate reserves space if the file supports it; see [Preallocator].
func Preallocate(f File, size int64) error {
	if p, ok := f.(Preallocator); ok {
		return p.Preallocate(size)
	}
	return fmt.Errorf("preallocate: %w", errors.ErrUnsupported)
}

// AdviseSequential is [CacheAdviser.AdviseSequential] if the file supports it.
func AdviseSequential(f File) {
	if a, ok := f.(CacheAdviser); ok {
		a.AdviseSequential()
	}
}

// DropCache is [CacheAdviser.DropCache] if the file supports it.
func DropCache(f File, off, n int64) {
	if a, ok := f.(CacheAdviser); ok {
		a.DropCache(off, n)
	}
}

// SyncFile opens a file by name and makes its content durable.
func SyncFile(fsys FS, name string) error {
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Reload is [Reloader.Reload] if the file supports it.
func Reload(f File) error {
	if r, ok := f.(Reloader); ok {
		return r.Reload()
	}
	return nil
}

// RemoveAll removes a file, or a directory with all its content. A name that does not exist is not
// an error.
func RemoveAll(fsys FS, name string) error {
	err := fsys.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	entries, listErr := fsys.ReadDir(name)
	if listErr != nil {
		return err
	}
	for _, e := range entries {
		if err = RemoveAll(fsys, filepath.Join(name, e.Name())); err != nil {
			return err
		}
	}
	return fsys.Remove(name)
}
