package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/varvelog/varve/metadata"
)

// directoryIDs converts directory ids of the storage to those of the metadata.
func directoryIDs(ids [][16]byte) []metadata.DirectoryID {
	out := make([]metadata.DirectoryID, len(ids))
	for i, id := range ids {
		out[i] = metadata.DirectoryID(id)
	}
	return out
}

// onDirFailed is storage.Options.OnDirFailed. It does not block.
func (s *server) onDirFailed([16]byte, error) {
	select {
	case s.dirFailed <- struct{}{}:
	default: // tellDirectories has not read the last token yet
	}
}

// placeTimeout bounds how long a stop waits until the cluster has the directories of this broker's
// logs.
const placeTimeout = time.Second

// placeLogs records in the cluster's state, before this broker stops, which directories its logs
// are in. If a directory is missing at the next start, only the logs in it then count as lost.
// Partitions that were created a moment ago may not have their directory recorded.
func (s *server) placeLogs(ctx context.Context) {
	if len(s.logs.OnlineDirs()) <= 1 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, placeTimeout)
	defer cancel()
	s.replicas.TellDirectories()
	if _, err := s.loader.Wait(ctx, func(m *metadata.Image) bool { return m.DirectoriesAssigned(s.Config.NodeID) }); err != nil {
		s.log.Warn("the cluster does not know where all logs are", slog.Any("error", err))
	}
}

// tellDirectories runs after each failure of a directory. It writes the working directories into
// the registration. Then the leaders on this broker record their directories, so that the
// leadership of the logs in the failed one is given up.
func (s *server) tellDirectories(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.dirFailed:
		}
		working := directoryIDs(s.logs.OnlineDirs())
		if err := s.registration.SetDirectories(ctx, working); err != nil {
			return nil //nolint:nilerr // it is logged, and the broker stops
		}
		s.replicas.TellDirectories()
		s.log.Warn("the cluster knows that a data directory has failed", slog.Int("directories_left", len(working)))
		// Not before the registration: the file may be in the failed directory. That directory has
		// a marker of its own, see storage.Manager.DistrustedDirs.
		if err := s.lastRegistration.failed(working); err != nil {
			s.log.Warn("the failed data directory cannot be noted", slog.Any("error", err))
		}
	}
}
