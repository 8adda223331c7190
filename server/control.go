package server

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/etcd"
	"github.com/varvelog/varve/notify"
)

// quorumTimeout bounds how long a broker waits for a majority of the seeds, whether it is a seed
// itself or not.
const quorumTimeout = 10 * time.Minute

// seedTimeout bounds an etcd request of a broker that is not a seed, as a seed's requests are
// bounded: a request that was on its way to a leader that died is lost.
const seedTimeout = 1500 * time.Millisecond

// openControl starts or joins the control plane and begins to follow it.
func (s *server) openControl(ctx context.Context) (err error) {
	if s.store, err = s.openStore(ctx); err != nil {
		return err
	}
	s.parts.add("metadata store", s.store.Close)
	s.store.Register(s.registry)
	if err = s.persist(ctx, "compare the metadata with what this broker has seen", s.resumeMetadata); err != nil {
		return err
	}
	s.bus, err = notify.Open(notify.Options{
		URLs: strings.Join(s.Config.NATS, ","), Access: s.natsAccess(), Routes: s.routes(),
		Cluster: s.Config.Cluster, Logger: s.log, Registerer: s.registry,
	})
	if err != nil {
		return err
	}
	s.parts.add("notifications", func() error { s.bus.Close(); return nil })
	s.loader = metadata.NewLoader(metadata.LoaderOptions{Store: s.store, Logger: s.log, Registerer: s.registry})
	unread := func() string { return s.loader.Image().UnreadableNames() }
	s.ops.unread.Store(&unread)
	s.parts.run(ctx, "metadata loader", s.loader.Run)
	return nil
}

// openStore opens the external etcd, the etcd of the seeds, or an embedded member.
func (s *server) openStore(ctx context.Context) (*etcd.Store, error) {
	if len(s.Config.Seeds) == 2 {
		s.log.Warn("two seeds are both needed: with either of them gone no metadata can change; three go on without one")
	}
	ctx, cancel := context.WithTimeout(ctx, s.storeTimeout())
	defer cancel()
	switch {
	case len(s.Config.Etcd) > 0:
		return etcd.Open(ctx, s.external())
	case len(s.Config.Seeds) > 0 && s.Config.Control == "":
		return etcd.Open(ctx, s.seedClient())
	}
	embedded := etcd.EmbeddedOptions{
		Dir: filepath.Join(s.Config.DataDir, "etcd"), Cluster: s.Config.Cluster, NodeID: s.Config.NodeID, Logger: s.log,
		Holds: leftBehind(s.Config), Waits: func(what string) { s.ops.waitFor("it waits for " + what) },
	}
	if s.Config.Control != "" {
		embedded.Member = &etcd.Member{NodeID: s.Config.NodeID, Listen: s.Config.Control, Peers: peers(s.Config.Seeds), Found: s.Config.Found}
		if s.tls.control != nil {
			files := s.Config.ControlTLS
			embedded.Member.TLS = &etcd.MemberTLS{CAFile: files.CAFile, CertFile: files.CertFile, KeyFile: files.KeyFile, Client: dialer(s.tls.control)}
		}
	}
	return etcd.OpenEmbedded(ctx, embedded)
}

// storeTimeout bounds how long a start waits for etcd.
func (s *server) storeTimeout() time.Duration {
	if len(s.Config.Seeds) > 0 {
		return quorumTimeout
	}
	return startTimeout
}

// The pauses between the attempts of persist.
const (
	persistMin = 20 * time.Millisecond
	persistMax = time.Second
)

// persist repeats a step of the start while etcd does not answer. The majority that was there when
// the store was opened may be lost again, for example when all brokers start at the same time. A
// step may have succeeded although its answer is lost, so it must be repeatable.
func (s *server) persist(ctx context.Context, what string, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.storeTimeout())
	defer cancel()
	pause := backoff.Backoff{Min: persistMin, Max: persistMax}
	for {
		err := step(ctx)
		if !errors.Is(err, kv.ErrUnavailable) {
			return err
		}
		s.log.Warn("etcd does not answer, and the start waits", slog.String("for", what), slog.Any("error", err))
		if !pause.Sleep(ctx) {
			return err
		}
	}
}

// leftBehind names files in the data directory or the log directories that only a broker in a
// cluster writes, or returns "" if there are none. Beside such files no cluster may be founded: it
// would treat the logs as another cluster's.
func leftBehind(c config.Broker) string {
	for _, dir := range c.LogDirs() {
		if _, err := os.Stat(filepath.Join(dir, "meta.properties")); err == nil {
			return "logs of a cluster in " + dir
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // missing, or the log reports later what is wrong with it
		}
		if slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.IsDir() && partitionDir.MatchString(e.Name()) }) {
			return "logs in " + dir
		}
	}
	return ""
}

// partitionDir matches the name of a partition's directory.
var partitionDir = regexp.MustCompile(`^.+-[0-9]+$`)

func (s *server) external() etcd.Options {
	access := s.Config.EtcdAccess
	return etcd.Options{
		Endpoints: s.Config.Etcd, Cluster: s.Config.Cluster, Logger: s.log,
		TLS: dialer(s.tls.etcd), User: access.User, Password: string(access.Password),
	}
}

func (s *server) natsAccess() notify.Access {
	access := notify.Access{CredsFile: s.Config.NATSAccess.CredsFile}
	if s.tls.nats != nil {
		access.TLS = s.tls.nats
	}
	return access
}

// seedClient returns the options of a broker that is not a seed: etcd runs in the seeds.
func (s *server) seedClient() etcd.Options {
	o := etcd.Options{Cluster: s.Config.Cluster, Brokers: true, Logger: s.log, RequestTimeout: seedTimeout, Wait: quorumTimeout, TLS: dialer(s.tls.control)}
	scheme := "http://"
	if s.tls.control != nil {
		scheme = "https://"
	}
	for _, seed := range s.Config.Seeds {
		o.Endpoints = append(o.Endpoints, scheme+config.ControlAddress(seed.Control, 1))
	}
	return o
}

func peers(seeds []config.Seed) []etcd.Peer {
	list := make([]etcd.Peer, len(seeds))
	for i, seed := range seeds {
		list[i] = etcd.Peer{NodeID: seed.NodeID, Control: seed.Control}
	}
	return list
}

func seedIDs(seeds []config.Seed) []int32 {
	ids := make([]int32, len(seeds))
	for i, seed := range seeds {
		ids[i] = seed.NodeID
	}
	return ids
}

// routes joins the embedded NATS server to those of the seeds.
func (s *server) routes() *notify.Routes {
	if len(s.Config.Seeds) == 0 || len(s.Config.NATS) > 0 {
		return nil
	}
	r := &notify.Routes{Name: "broker-" + strconv.Itoa(int(s.Config.NodeID))}
	if s.tls.control != nil {
		r.TLS = s.tls.control.Both()
	}
	for _, seed := range s.Config.Seeds {
		if seed.NodeID != s.Config.NodeID {
			r.Peers = append(r.Peers, config.ControlAddress(seed.Control, 2))
		}
	}
	if s.Config.Control != "" {
		r.Listen = config.ControlAddress(s.Config.Control, 2)
	}
	return r
}
