package server

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"

	"github.com/varvelog/varve/vfs"
)

// cleanStopFile holds the broker epoch under which this data directory's last
// process ended with everything on the disk. The cluster believes such a broker
// that it still has what it had. The file is gone while a process runs.
const cleanStopFile = "clean-stop"

// maxCleanStop bounds what is read of the file, in bytes.
const maxCleanStop = 64

// takeCleanStop returns the epoch of the last clean stop, 0 if the last process
// did not end in order, and makes sure that nobody reads it again.
func takeCleanStop(dataDir string) (int64, error) {
	name := filepath.Join(dataDir, cleanStopFile)
	text, err := vfs.ReadFile(vfs.OS{}, name, maxCleanStop)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the mark of the last clean stop: %w", err)
	}
	if err = errors.Join(vfs.OS{}.Remove(name), vfs.OS{}.SyncDir(dataDir)); err != nil {
		return 0, fmt.Errorf("remove the mark of the last clean stop: %w", err)
	}
	epoch, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, nil //nolint:nilerr // a mark that cannot be read is none
	}
	return epoch, nil
}

// markCleanStop is the last thing that a broker does.
func markCleanStop(dataDir string, epoch int64) error {
	if epoch == 0 {
		return nil // never registered
	}
	err := vfs.ReplaceFile(vfs.OS{}, filepath.Join(dataDir, cleanStopFile), strconv.AppendInt(nil, epoch, 10), 0o600, true)
	if err != nil {
		return fmt.Errorf("mark the clean stop: %w", err)
	}
	return nil
}
