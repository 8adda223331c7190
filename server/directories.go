package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/varvelog/varve/metadata"
)

// directoryIDs are data directories as the cluster names them.
func directoryIDs(ids [][16]byte) []metadata.DirectoryID {
	out := make([]metadata.DirectoryID, len(ids))
	for i, id := range ids {
		out[i] = metadata.DirectoryID(id)
	}
	return out
}

// onDirFailed is storage.Options.OnDirFailed.
func (s *server) onDirFailed([16]byte, error) {
	select {
	case s.dirFailed <- struct{}{}:
	default: // tellDirectories has not looked yet
	}
}

// placeTimeout bounds how long a stop waits until the cluster knows where logs are.
const placeTimeout = time.Second

// placeLogs has the cluster know in which directories the logs of this broker are, before
// it stops: should one of these be missing at the next start, only what was in it counts
// as lost. Partitions that were created a moment ago may lack that.
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

// tellDirectories has the cluster know which directories work whenever one has failed, and
// then has the leaders of what was in it say so.
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
		// Only now: the file may be in the directory that has failed. The directory has
		// a marker of its own, see storage.Manager.DistrustedDirs.
		if err := s.lastRegistration.failed(working); err != nil {
			s.log.Warn("the failed data directory cannot be noted", slog.Any("error", err))
		}
	}
}
