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

// seenRevisionFile holds a metadata revision that this broker has seen, no lower than the epoch of
// its registration. A start rejects an etcd that is older than that. Such an etcd was restored from
// an older backup. It would give the broker an epoch that it has had before, and topics and in-sync
// sets of the past.
const seenRevisionFile = "metadata-revision"

// maxSeenRevision bounds the bytes that are read of the file.
const maxSeenRevision = 64

// seenRevisionInterval is how often the file is updated from the image. After a crash the file is
// older by up to that. An etcd restored from a backup that is older by no more than that goes
// unnoticed.
const seenRevisionInterval = 10 * time.Second

// readSeenRevision returns 0 for a broker that has not seen any.
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

// writeSeenRevision replaces the file, and returns after it is on the disk.
func writeSeenRevision(dataDir string, revision int64) error {
	err := vfs.ReplaceFile(vfs.OS{}, filepath.Join(dataDir, seenRevisionFile), strconv.AppendInt(nil, revision, 10), 0o600, true)
	if err != nil {
		return fmt.Errorf("note the newest revision of the metadata: %w", err)
	}
	return nil
}

// resumeMetadata rejects an etcd that is older than what this broker has seen. At this point
// nothing has been written to etcd, and no log is open.
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

// noteRevisions updates the file from the registration until ctx ends, and then once more. A broker
// does not stop because the file cannot be written.
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
