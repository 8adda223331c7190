package server

import (
	"log/slog"

	"github.com/varvelog/varve/vfs"
)

// connectionLimit is max.connections, or as many as the process has descriptors
// for: half of what it may open is the log's (storage.Options.MaxOpenFiles), and an
// eighth is left for what else needs some. Were connections allowed to take more,
// the log could not open its files.
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
