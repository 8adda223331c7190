package crashfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// brokenFile is the file next to the journal that names the directory below which operations fail.
const brokenFile = "broken"

// Break makes operations below a directory fail with EIO, as on a disk that has failed, until Mend.
// It affects the process that has its journal in journalDir. Only Stat, Space and a file's Size,
// Close, Preallocate, StartWriteback and Reload still work.
func Break(journalDir, below string) error {
	name := filepath.Join(journalDir, brokenFile)
	if err := os.WriteFile(name+".tmp", []byte(below), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

// Mend ends the effect of Break.
func Mend(journalDir string) error {
	return os.Remove(filepath.Join(journalDir, brokenFile))
}

// broken returns the error of an operation on a name below the broken directory, or nil.
func (f *FS) broken(op, name string) error {
	below, err := os.ReadFile(filepath.Join(f.journal.dir, brokenFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if name == string(below) || strings.HasPrefix(name, string(below)+"/") {
		return &fs.PathError{Op: op, Path: name, Err: syscall.EIO}
	}
	return nil
}
