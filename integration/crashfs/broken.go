package crashfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// brokenFile is the file beside the journal that has the name of a directory below which nothing
// works.
const brokenFile = "broken"

// Break has every operation below a directory fail with EIO, as on a disk that
// has gone, in the process that has its journal there, until Mend.
func Break(journalDir, below string) error {
	name := filepath.Join(journalDir, brokenFile)
	if err := os.WriteFile(name+".tmp", []byte(below), 0o600); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

// Mend ends Break.
func Mend(journalDir string) error {
	return os.Remove(filepath.Join(journalDir, brokenFile))
}

// broken is the error of an operation on a name.
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
