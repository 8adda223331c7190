package server

import (
	"context"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/etcd"
	"github.com/varvelog/varve/notify"
)

// quorumTimeout bounds how long a broker that runs a part of the control plane
// waits for the others to start.
const quorumTimeout = 10 * time.Minute

// openControl starts or joins the control plane and begins to follow it.
func (s *server) openControl(ctx context.Context) (err error) {
	if s.store, err = s.openStore(ctx); err != nil {
		return err
	}
	s.parts.add("metadata store", s.store.Close)
	s.bus, err = notify.Open(notify.Options{
		URLs: strings.Join(s.Config.NATS, ","), Routes: s.routes(), Cluster: s.Config.Cluster, Logger: s.log, Registerer: s.registry,
	})
	if err != nil {
		return err
	}
	s.parts.add("notifications", func() error { s.bus.Close(); return nil })
	s.follower = metadata.NewFollower(metadata.FollowerOptions{Store: s.store, Logger: s.log, Registerer: s.registry})
	s.parts.run(ctx, "metadata follower", s.follower.Run)
	return nil
}

// openStore opens the external etcd, that of the seeds, or a member of its own.
func (s *server) openStore(ctx context.Context) (*etcd.Store, error) {
	timeout := startTimeout
	if s.Config.Control != "" {
		timeout = quorumTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if s.Config.Control == "" && len(s.Config.Etcd)+len(s.Config.Seeds) > 0 {
		endpoints := slices.Clone(s.Config.Etcd)
		for _, seed := range s.Config.Seeds {
			endpoints = append(endpoints, "http://"+config.ControlAddress(seed.Control, 1))
		}
		return etcd.Open(ctx, etcd.Options{Endpoints: endpoints, Cluster: s.Config.Cluster, Logger: s.log})
	}
	embedded := etcd.EmbeddedOptions{Dir: filepath.Join(s.Config.DataDir, "etcd"), Cluster: s.Config.Cluster, Logger: s.log}
	if s.Config.Control != "" {
		embedded.Member = &etcd.Member{NodeID: s.Config.NodeID, Peers: peers(s.Config.Seeds)}
	}
	return etcd.OpenEmbedded(ctx, embedded)
}

func peers(seeds []config.Seed) []etcd.Peer {
	list := make([]etcd.Peer, len(seeds))
	for i, seed := range seeds {
		list[i] = etcd.Peer{NodeID: seed.NodeID, Control: seed.Control}
	}
	return list
}

// routes join the embedded NATS server to those of the seeds.
func (s *server) routes() *notify.Routes {
	if len(s.Config.Seeds) == 0 || len(s.Config.NATS) > 0 {
		return nil
	}
	r := &notify.Routes{Name: "broker-" + strconv.Itoa(int(s.Config.NodeID))}
	for _, seed := range s.Config.Seeds {
		r.Peers = append(r.Peers, config.ControlAddress(seed.Control, 2))
	}
	if s.Config.Control != "" {
		r.Listen = config.ControlAddress(s.Config.Control, 2)
	}
	return r
}
