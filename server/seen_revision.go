package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"strconv"
	"time"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/vfs"
)

// seenRevisionFile holds a revision of the metadata that this broker has seen, no
// lower than the epoch it registered under. A start refuses an etcd that has not
// come as far: it was restored from an older backup, and would give the broker an
// epoch that it has had before, and topics and in-sync sets of the past.
const seenRevisionFile = "metadata-revision"

// maxSeenRevision bounds what is read of the file, in bytes.
const maxSeenRevision = 64

// seenRevisionInterval is how often the file follows the image. A crash leaves it
// that much behind, which is as far as an etcd restored meanwhile may be behind
// without notice.
const seenRevisionInterval = 10 * time.Second

// readSeenRevision returns 0 for a broker that has seen none.
func readSeenRevision(dataDir string) (int64, error) {
	name := filepath.Join(dataDir, seenRevisionFile)
	text, err := vfs.ReadFile(vfs.OS{}, name, maxSeenRevision)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read the newest revision of the metadata that was seen: %w", err)
	}
	revision, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is damaged, it is to hold a number: remove it if etcd has not been restored since this broker last ran", name)
	}
	return revision, nil
}

// writeSeenRevision replaces the file, on the disk.
func writeSeenRevision(dataDir string, revision int64) error {
	err := vfs.ReplaceFile(vfs.OS{}, filepath.Join(dataDir, seenRevisionFile), strconv.AppendInt(nil, revision, 10), 0o600, true)
	if err != nil {
		return fmt.Errorf("note the newest revision of the metadata: %w", err)
	}
	return nil
}

// resumeMetadata refuses an etcd that is older than what this broker has seen.
// Nothing has been written to it, and no log is open yet.
func (s *server) resumeMetadata(ctx context.Context) error {
	revision, err := readSeenRevision(s.Config.DataDir)
	if err != nil {
		return err
	}
	if revision == 0 {
		return nil
	}
	err = s.store.Resume(ctx, revision)
	if errors.Is(err, kv.ErrWentBack) {
		return fmt.Errorf("this broker has seen metadata that etcd does not have: %w", err)
	}
	return err
}

// noteRevisions keeps the file from the registration until ctx ends, and then
// writes it once more. A file that cannot be written is no reason to stop.
func (s *server) noteRevisions(ctx context.Context) error {
	tick := time.NewTicker(seenRevisionInterval)
	defer tick.Stop()
	var noted int64
	for {
		if revision := max(s.registration.BrokerEpoch(), s.loader.Image().Revision); revision > noted {
			if err := writeSeenRevision(s.Config.DataDir, revision); err != nil {
				s.log.Warn("an etcd that is restored from a backup may go unnoticed at the next start", slog.Any("error", err))
			} else {
				noted = revision
			}
		}
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
