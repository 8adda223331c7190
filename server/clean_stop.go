package server

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cleanStopFile holds the broker epoch under which this data directory's last
// process ended with everything on the disk. The cluster believes such a broker
// that it still has what it had. The file is gone while a process runs.
const cleanStopFile = "clean-stop"

// takeCleanStop returns the epoch of the last clean stop, 0 if the last process
// did not end in order, and makes sure that nobody reads it again.
func takeCleanStop(dataDir string) (int64, error) {
	name := filepath.Join(dataDir, cleanStopFile)
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the mark of the last clean stop: %w", err)
	}
	if err = errors.Join(os.Remove(name), syncDir(dataDir)); err != nil {
		return 0, fmt.Errorf("remove the mark of the last clean stop: %w", err)
	}
	epoch, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, nil //nolint:nilerr // a torn mark is none
	}
	return epoch, nil
}

// markCleanStop is the last thing that a broker does.
func markCleanStop(dataDir string, epoch int64) error {
	if epoch == 0 {
		return nil // never registered
	}
	name := filepath.Join(dataDir, cleanStopFile)
	if err := os.WriteFile(name, strconv.AppendInt(nil, epoch, 10), 0o600); err != nil {
		return fmt.Errorf("mark the clean stop: %w", err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("mark the clean stop: %w", err)
	}
	if err = errors.Join(f.Sync(), f.Close(), syncDir(dataDir)); err != nil {
		return fmt.Errorf("mark the clean stop: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
