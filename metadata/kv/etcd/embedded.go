package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/raft/v3/raftpb"
)

// EmbeddedOptions are the options of an etcd that runs inside this process.
type EmbeddedOptions struct {
	Dir            string        // created if missing
	Cluster        string        // as in Options
	RequestTimeout time.Duration // 5 s if zero, 1.5 s with Member
	Logger         *slog.Logger
	NodeID         int32   // id of this broker
	Member         *Member // nil: the only member, which listens nowhere
	// Holds names the data of a cluster in the broker's data directory, "" if there is none. If
	// there is some, a member without files founds no cluster.
	Holds string
	// Waits is called with what the start waits for, and again when that changes; may be nil.
	Waits func(what string)

	// tick is the heartbeat interval: defaultTick if zero, memberTick with Member. An election
	// timeout is a few ticks.
	tick  time.Duration
	quota int64 // of the database, in bytes; quotaBytes if zero
	// unsynced disables fsync, for tests that do not simulate a power loss.
	unsynced bool
	majority time.Duration // majorityTimeout if zero
}

// waits reports what the start waits for.
func (o EmbeddedOptions) waits(what string) {
	if o.Waits != nil {
		o.Waits(what)
	}
}

// Settings of the single embedded member. It elects itself at once, within two election timeouts in
// any case, and never loses an election, however little processor time it gets.
const (
	memberName         = "varve"
	defaultTick        = 50 * time.Millisecond
	electionTicks      = 5
	nudgeInterval      = time.Millisecond
	quotaBytes         = 4 << 30
	keptRevisions      = "10000"
	snapshotEntries    = 1000 // of the raft log, which is kept in memory until then
	catchUpEntries     = 100
	slowRequestWarning = 2 * time.Second
)

// OpenEmbedded starts an etcd member in this process and returns when it answers. The only member
// listens nowhere and answers at once; one of several needs a majority. The store calls the
// server's functions directly. A lock file keeps other processes out of the directory.
func OpenEmbedded(ctx context.Context, o EmbeddedOptions) (*Store, error) {
	if err := checkCluster(o.Cluster); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("start the embedded etcd: %w", err)
	}
	// etcd itself would wait silently for the other process.
	lock, err := fileutil.TryLockFile(filepath.Join(o.Dir, "lock"), os.O_WRONLY|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, fmt.Errorf("start the embedded etcd: the directory %s is in use by another process; stop that one or choose another data directory", o.Dir)
	}
	if err != nil {
		return nil, fmt.Errorf("start the embedded etcd: lock %s: %w", o.Dir, err)
	}
	var e end
	server, err := start(ctx, o, &e)
	if err != nil {
		_ = lock.Close() // the first error names the cause
		return nil, fmt.Errorf("start the embedded etcd in %s: %w", o.Dir, err)
	}
	timeout := o.RequestTimeout
	if o.Member != nil {
		timeout = cmp.Or(timeout, memberTimeout)
	}
	s := newStore(v3client.New(server.Server), o.Cluster, timeout)
	s.quorum.id = only(o.NodeID)
	if o.Member != nil {
		s.member, s.quorum.id = server.Server, ofBrokers
		if o.Member.TLS != nil {
			s.tls = o.Member.TLS.Client
		}
	}
	space := spaceKeeper{server: server.Server, client: s.client, quota: cmp.Or(o.quota, quotaBytes), logger: o.Logger}
	keeping := space.start(ctx)
	s.stop = func() error {
		keeping()
		e.stop(server)
		return lock.Close()
	}
	return s, nil
}

// start runs the server until it has elected itself or joined a majority. etcd panics over files
// that it cannot read; start returns an error instead.
func start(ctx context.Context, o EmbeddedOptions, e *end) (server *embed.Etcd, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			detail := ""
			// A runtime error follows from a problem that etcd has logged already.
			if _, stumbled := cause.(runtime.Error); !stumbled {
				detail = fmt.Sprintf(" (%v)", cause)
			}
			server, err = nil, fmt.Errorf("its files are damaged or not etcd's%s; restore the directory, or move it and the logs away to start an empty cluster", detail)
		}
	}()
	if err = checkDatabase(o.Dir); err != nil {
		return nil, fmt.Errorf("%w; restore the directory, or move it and the logs away to start an empty cluster", err)
	}
	if o.Member == nil && o.Holds != "" && !hasFiles(o.Dir) {
		return nil, holdsError(o.Holds)
	}
	c := config(o, &e.began)
	c.ServiceRegister = e.add
	if o.Member != nil {
		if err = o.Member.configure(c, o); err == nil {
			err = o.Member.decide(ctx, c, o)
		}
		if err != nil {
			return nil, err
		}
	}
	server, err = embed.StartEtcd(c)
	if err != nil {
		return nil, err
	}
	if o.Member != nil {
		if err = o.Member.checkScheme(server); err == nil {
			err = o.Member.awaitQuorum(ctx, server, o)
		}
	} else {
		err = awaitReady(ctx, server, nudgeInterval, func() { campaign(ctx, server.Server) })
	}
	if err != nil {
		e.began.Store(true)
		server.Server.Stop() // first: Close alone waits until a member is ready
		server.Close()
		return nil, err
	}
	return server, nil
}

// awaitReady waits until the server has a leader and answers. While it waits, it calls meanwhile at
// each interval.
func awaitReady(ctx context.Context, server *embed.Etcd, every time.Duration, meanwhile func()) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-server.Server.ReadyNotify():
			return nil
		case err := <-server.Err():
			return err
		case <-server.Server.StopNotify():
			return errors.New("the server stopped while it started")
		case <-ctx.Done():
			return fmt.Errorf("wait until it is ready: %w", context.Cause(ctx))
		case <-tick.C:
			meanwhile()
		}
	}
}

// campaign makes a server without a leader stand for election now: the only member has no other
// member to wait an election timeout for. It sends itself the message by which a leader hands over.
// A member that has not yet applied the start of its log, the entry that adds itself, rejects the
// message, and campaign is called again.
func campaign(ctx context.Context, s *etcdserver.EtcdServer) {
	if s.Leader() != 0 {
		return
	}
	self := uint64(s.MemberID())
	_ = s.Process(ctx, &raftpb.Message{Type: raftpb.MessageType_MsgTimeoutNow.Enum(), From: &self, To: &self})
}

// checkDatabase opens the database in the way that etcd will: etcd panics over a damaged file on a
// goroutine where start cannot recover.
func checkDatabase(dir string) error {
	name := filepath.Join(dir, "member", "snap", "db")
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return fmt.Errorf("its database is damaged: %w", err)
	}
	return db.Close()
}

// config returns the configuration of a single member. ending is as in newZap.
func config(o EmbeddedOptions, ending *atomic.Bool) *embed.Config {
	c := embed.NewConfig()
	c.Name = memberName
	c.Dir = o.Dir
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(newZap(o.Logger, ending))
	// No listeners. A member needs an address nevertheless.
	address := url.URL{Scheme: "http", Host: "127.0.0.1:2380"}
	c.ListenPeerUrls, c.ListenClientUrls, c.AdvertiseClientUrls = nil, nil, nil
	c.AdvertisePeerUrls = []url.URL{address}
	c.InitialCluster = memberName + "=" + address.String()
	tick := cmp.Or(o.tick, defaultTick)
	c.TickMs = uint(tick.Milliseconds())
	c.ElectionMs = uint((electionTicks * tick).Milliseconds())
	c.InitialElectionTickAdvance = true
	c.UnsafeNoFsync = o.unsynced
	c.QuotaBackendBytes = cmp.Or(o.quota, quotaBytes)
	c.AutoCompactionMode = embed.CompactorModeRevision
	c.AutoCompactionRetention = keptRevisions
	c.SnapshotCount = snapshotEntries
	c.SnapshotCatchUpEntries = catchUpEntries
	c.WarningApplyDuration = slowRequestWarning
	c.WarningUnaryRequestDuration = slowRequestWarning
	return c
}
