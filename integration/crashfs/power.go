package crashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// LosePower turns the directories data into the state that a loss of power would have left,
// according to the journal. No process may be using them. Afterward everything in them is durable,
// and the journal has been deleted. It returns how many bytes and how many changes of names were
// lost.
func LosePower(journalDir string, data ...string) (bytes int64, names int, err error) {
	s, err := readState(journalDir)
	if err != nil {
		return 0, 0, err
	}
	for _, e := range slices.Backward(s.pending) {
		if err = undo(e); err != nil {
			return bytes, names, fmt.Errorf("undo that %s was %s: %w", e.Name, e.Kind, err)
		}
		names++
	}
	for _, dir := range data {
		n, cutErr := s.cut(dir)
		if bytes += n; cutErr != nil {
			return bytes, names, cutErr
		}
	}
	return bytes, names, os.RemoveAll(journalDir)
}

// undo reverts one change of names. The process may have been killed before it made the change.
func undo(e entry) error {
	var err error
	switch e.Kind {
	case created:
		err = os.Remove(e.Name)
	case madeDir:
		err = os.RemoveAll(e.Name)
	case renamed:
		err = os.Rename(e.Name, e.From)
		if e.Kept != "" {
			err = errors.Join(ignore(err, fs.ErrNotExist), os.Rename(e.Kept, e.Name))
		}
	case removed:
		if e.Kept == "" {
			err = os.Mkdir(e.Name, 0o750)
		} else {
			err = os.Rename(e.Kept, e.Name)
		}
	case synced, truncated, dirSynced:
	}
	return ignore(err, fs.ErrNotExist, fs.ErrExist)
}

func ignore(err error, these ...error) error {
	if slices.ContainsFunc(these, func(e error) bool { return errors.Is(err, e) }) {
		return nil
	}
	return err
}

// cut truncates all files below a directory to their durable length.
func (s *state) cut(dir string) (lost int64, err error) {
	err = filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		durable, known := s.durable[info.Sys().(*syscall.Stat_t).Ino]
		if !known || info.Size() <= durable {
			return nil
		}
		lost += info.Size() - durable
		return os.Truncate(name, durable)
	})
	return lost, err
}
