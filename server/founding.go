package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/tiering/catalogue"
)

// foundCluster reads the cluster's id, or founds the cluster, and compares the object store with
// it. If the object store belongs to another cluster, the start ends before anything is founded. If
// it is unreachable, it is compared once it is reachable, and is not used before.
func (s *server) foundCluster(ctx context.Context) error {
	s.identity = &catalogue.Identity{Bucket: s.bucket, URL: s.Config.ObjectStore, Store: s.store, Now: time.Now}
	err := s.persist(ctx, "look for a cluster", func(ctx context.Context) error {
		id, err := metadata.ReadClusterID(ctx, s.store)
		if err != nil || id != "" {
			return err
		}
		return s.askBucket(ctx, s.identity.Founding)
	})
	if err != nil {
		return err
	}
	err = s.persist(ctx, "read or draw the cluster id", func(ctx context.Context) (err error) {
		s.clusterID, err = metadata.EnsureClusterID(ctx, s.store, s.settings.Layers().ClusterDefaults())
		return err
	})
	if err != nil {
		return err
	}
	if _, err = s.loader.Wait(ctx, func(m *metadata.Image) bool { return m.ClusterID == s.clusterID }); err != nil {
		return err
	}
	s.settings.follow(s.loader.Image())
	for _, text := range s.settings.Layers().Overruled() {
		s.log.Warn("a setting of this broker does not count: all brokers have to agree on it", slog.String("setting", text))
	}
	s.identity.ClusterID = s.clusterID
	err = s.persist(ctx, "compare the object store with the cluster", func(ctx context.Context) error {
		return s.askBucket(ctx, s.identity.Verify)
	})
	if err == nil {
		s.awaitBucket(ctx, s.identity.Verify)
	}
	return err
}
