package replication

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/vfs"
)

// loopConn is a LeaderConn that calls the leader's manager.
type loopConn struct {
	leader *Manager
	hurry  chan struct{}
}

func newLoopConn(leader *Manager) loopConn { return loopConn{leader, make(chan struct{}, 1)} }

func (loopConn) Close() {}

func (c loopConn) Hurry() {
	select {
	case c.hurry <- struct{}{}:
	default:
	}
}

func (c loopConn) Fetch(ctx context.Context, r *ReplicaFetch) ([]ReplicaFetched, error) {
	partitions, results := make([]FetchPartition, len(r.Positions)), make([]FetchResult, len(r.Positions))
	for i, at := range r.Positions {
		p, ok := c.leader.PartitionByID(at.TopicID, at.Partition)
		if !ok {
			results[i].Err = ErrUnknownTopicOrPartition
			r.MaxWait = 0 // as a broker does
			continue
		}
		partitions[i] = FetchPartition{
			Partition: p, Offset: at.Offset, MaxBytes: int(at.MaxBytes), CurrentLeaderEpoch: at.LeaderEpoch, LastFetchedEpoch: at.LastFetchedEpoch,
			HighWatermark: -1,
		}
	}
	c.leader.Fetch(ctx, FetchParams{
		MaxWait: r.MaxWait, MinBytes: int(r.MinBytes), MaxBytes: int(r.MaxBytes), Isolation: ReadLogEnd, Replica: &r.Replica, Hurry: c.hurry,
	}, partitions, results)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	answers := make([]ReplicaFetched, len(results))
	for i := range results {
		got := &results[i]
		answers[i] = ReplicaFetched{
			At: i, Err: got.Err, HighWatermark: got.HighWatermark, LogStart: got.LogStartOffset, RemoteEnd: got.RemoteEndOffset, Diverging: got.Diverging,
		}
		var err error
		if answers[i].Records, err = got.Records.AppendTo(nil); err != nil {
			return nil, err
		}
		got.Records.Release()
	}
	return answers, nil
}

// pair is a cluster of two brokers; broker 1 is the embedded cluster's.
type pair struct {
	*cluster
	second *metadata.Registration
	conns  []*watchedConn // all connections so far
}

// watchedConn counts the fetches that failed and the calls of Close.
type watchedConn struct {
	loopConn
	broken, closed atomic.Int32
}

func (c *watchedConn) Fetch(ctx context.Context, r *ReplicaFetch) ([]ReplicaFetched, error) {
	answers, err := c.loopConn.Fetch(ctx, r)
	if err != nil {
		c.broken.Add(1)
	}
	return answers, err
}

func (c *watchedConn) Close() { c.closed.Add(1) }

func (c *pair) dial() LeaderConn {
	conn := &watchedConn{loopConn: newLoopConn(c.m)}
	c.conns = append(c.conns, conn)
	return conn
}

func newPair(t *testing.T) *pair {
	t.Helper()
	c := newClusterTest(t, vfs.NewMem())
	second := metadata.NewRegistration(metadata.RegistrationOptions{
		Store: c.store, BrokerID: 2, DirectoryID: "e", Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	epoch, err := second.Register(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err = c.follower.WaitRevision(t.Context(), epoch); err != nil {
		t.Fatal(err)
	}
	c.start(nil)
	return &pair{cluster: c, second: second}
}

// create creates a topic that the first broker leads and the second follows.
func (c *pair) create(name string) {
	c.t.Helper()
	spec := metadata.TopicSpec{Name: name, Assignments: map[int32][]int32{0: {1, 2}}}
	if r := c.admin.CreateTopics(c.t.Context(), []metadata.TopicSpec{spec}, false)[0]; r.Err != nil {
		c.t.Fatal(r.Err)
	}
	c.settle()
}

// follow starts the second broker.
func (c *pair) follow(remote tier, maxWait time.Duration) *Manager {
	c.t.Helper()
	logs := openStorage(c.t, vfs.NewMem(), c.id)
	background(c.t, logs.Run)
	follower := New(Options{
		BrokerID: 2, Storage: logs, Cluster: c.follower, Logger: slog.New(slog.DiscardHandler), Config: testConfig,
		Tier: remote,
		Followers: Followers{
			Dial:        func(metadata.Broker) LeaderConn { return c.dial() },
			BrokerEpoch: c.second.BrokerEpoch, ReplicaMaxWait: maxWait,
		},
	})
	background(c.t, follower.Run)
	return follower
}

// TestFollowerKeepsUp: a second broker follows the first: a topic that exists when it starts, and
// topics that are created while its fetcher waits for news. Those must not wait for the end of that
// wait, and the connection stays.
func TestFollowerKeepsUp(t *testing.T) {
	c := newPair(t)
	c.create("before")
	follower := c.follow(nil, time.Hour)
	write := func(name string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		leader := c.partition(name, 0)
		for _, value := range []string{"one", "two"} {
			a, err := leader.Append(batch(t, 1000, value), AcksAll)
			if err == nil {
				err = a.Wait(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		p, ok := follower.Partition(leader.TopicPartition())
		if !ok || p.IsLeader() {
			t.Fatalf("broker 2 does not follow %s", name)
		}
		if have := contents(t, p); !slices.Equal(have, []string{"one", "two"}) {
			t.Errorf("broker 2 has %v of %s", have, name)
		}
	}
	write("before")
	for i := range 10 {
		c.create(fmt.Sprint("meanwhile", i))
		write(fmt.Sprint("meanwhile", i))
	}
	if n := len(c.conns); n != 1 || c.conns[0].broken.Load() > 0 || c.conns[0].closed.Load() > 0 {
		t.Errorf("%d connections, of which the first broke off %d fetches and was closed %d times", n, c.conns[0].broken.Load(), c.conns[0].closed.Load())
	}
}

// TestDurableFollowerIsWokenByItsDisk: with flush.messages=1 a follower fetches again as soon as it
// has synced what it has, and not one poll later.
func TestDurableFollowerIsWokenByItsDisk(t *testing.T) {
	c := newPair(t)
	spec := metadata.TopicSpec{Name: "t", Assignments: map[int32][]int32{0: {1, 2}}, Configs: map[string]string{"flush.messages": "1"}}
	if r := c.admin.CreateTopics(t.Context(), []metadata.TopicSpec{spec}, false)[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	c.settle()
	background(t, c.storage.Run)
	c.follow(nil, time.Hour)
	leader := c.partition("t", 0)
	write := func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for range 100 {
			a, err := leader.Append(batch(t, 1000, "v"), AcksAll)
			if err == nil {
				err = a.Wait(ctx)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	write()
	c.create("quiet") // the leader holds the follower's fetch as long as it may
	write()
}

// TestStoppingBrokerFollowsWhereItIsInSync: a broker that is about to stop does not begin to follow
// what it has handed over. Where it is in sync it goes on, also under another leader.
func TestStoppingBrokerFollowsWhereItIsInSync(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.m.o.Dial = func(metadata.Broker) LeaderConn { return newLoopConn(b.m) }
	b.m.o.BrokerEpoch = func() int64 { return 0 } // so that the fetchers stay idle
	f := b.m.fetchers
	ctx, cancel := context.WithCancel(t.Context())
	f.begin(ctx)
	t.Cleanup(f.end)
	t.Cleanup(cancel)
	image := &metadata.Image{Brokers: map[int32]metadata.Broker{1: {ID: 1}, 2: {ID: 2, Epoch: 1}, 3: {ID: 3, Epoch: 1}}}
	inSync := &bench{Partition: b.others(t, 1)[1], m: b.m, tier: b.tier}
	follow := func(at *bench, epoch, leader int32, isr ...metadata.Member) {
		v := led(epoch, leader, 1, 2, 3)
		v.ISR = isr
		at.resign(v)
		f.assign(image, []*Partition{at.Partition})
	}
	follow(inSync, 6, 2, metadata.Member{Broker: 2, Epoch: 1}, metadata.Member{Broker: 1})

	image.Brokers[1] = metadata.Broker{ID: 1, InControlledShutdown: true}
	follow(b, 6, 2, metadata.Member{Broker: 2, Epoch: 1})
	if b.fetcher.Load() != nil {
		t.Error("the broker begins to follow what it has handed over")
	}
	follow(inSync, 7, 3, metadata.Member{Broker: 3, Epoch: 1}, metadata.Member{Broker: 1})
	if at := inSync.fetcher.Load(); at == nil || at.key.leader.Broker != 3 {
		t.Errorf("the broker no longer follows where it is in sync: %+v", at)
	}

	image.Brokers[1] = metadata.Broker{ID: 1}
	follow(b, 6, 2, metadata.Member{Broker: 2, Epoch: 1})
	if b.fetcher.Load() == nil {
		t.Error("the broker does not follow a leader although it does not stop")
	}
}
