package server

import (
	"log/slog"

	"github.com/varvelog/varve/vfs"
)

// connectionLimit returns max.connections, or fewer if the process may not open enough descriptors.
// Half of them are for the log (storage.Options.MaxOpenFiles), and an eighth is left for everything
// else. If connections could take more, the log could not open its files.
func connectionLimit(logger *slog.Logger, configured int64, mayOpen int) int {
	most := int64(mayOpen) * 3 / 8
	if configured <= most {
		return int(configured)
	}
	logger.Warn("fewer connections than max.connections are accepted: raise the limit of open files (ulimit -n, LimitNOFILE)",
		slog.Int64("max_connections", configured), slog.Int64("accepted", most), slog.Int("open_files", mayOpen))
	return int(most)
}

func (s *server) maxConnections() int {
	return connectionLimit(s.log, s.values.Int64("max.connections"), vfs.OpenFileLimit())
}
