package server

import (
	"cmp"
	"context"
	"path/filepath"

	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/tiering/diskcache"
	"github.com/varvelog/varve/vfs"
)

// diskCache starts the remote tier's cache on disk. It returns nil if none is configured.
func (s *server) diskCache(ctx context.Context) tiering.DiskCache {
	bytes := s.values.Int64("varve.tier.disk.cache.bytes")
	if bytes == 0 {
		return nil
	}
	dir := cmp.Or(s.values.String("varve.tier.disk.cache.dir"), filepath.Join(s.Config.DataDir, "tier-cache"))
	cache := diskcache.New(diskcache.Options{FS: vfs.OS{}, Dir: dir, Bytes: bytes, Logger: s.log, Registerer: s.registry})
	s.parts.run(ctx, "disk cache", cache.Run)
	return cache
}
