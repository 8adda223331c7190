package replication

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

func TestThrottledOn(t *testing.T) {
	for _, c := range []struct {
		list string
		want ThrottledReplicas
		has  []int32
		not  []int32
	}{
		{"", "", nil, []int32{0, 1}},
		{"*", "*", []int32{0, 7, math.MaxInt32}, nil},
		{",*,", "*", []int32{0}, nil}, // as Kafka reads it
		{"1:2", ",1,", []int32{1}, []int32{0, 2, 11}},
		{"1:3,0:3", "", nil, []int32{0, 1}},
		{"12:2,1:12,007:2,,3:02", ",12,7,3,", []int32{12, 7, 3}, []int32{1, 2, 0, 27}},
	} {
		got := ThrottledOn(2, strings.Split(c.list, ","))
		if got != c.want {
			t.Errorf("%q: %q", c.list, got)
		}
		for _, n := range c.has {
			if !got.has(n) {
				t.Errorf("%q: %d is not throttled", c.list, n)
			}
		}
		for _, n := range c.not {
			if got.has(n) {
				t.Errorf("%q: %d is throttled", c.list, n)
			}
		}
	}
}

func testThrottle(rate int64, now time.Time) *throttle {
	return registeredThrottle(nil, rate, now)
}

func registeredThrottle(reg prometheus.Registerer, rate int64, now time.Time) *throttle {
	t := newThrottles(Throttling{Windows: 10}, newMetrics(reg), time.Now).leader
	t.setRate(rate, now)
	return t
}

// drain passes n chunks, each as soon as nothing is held back, and returns how long that took.
func drain(t *testing.T, th *throttle, now time.Time, chunk, n int) time.Duration {
	t.Helper()
	start := now
	for looks := 0; n > 0; looks++ {
		if wait := th.wait(now); wait > 0 {
			now = now.Add(wait)
			if looks > 1_000_000 {
				t.Fatal("nothing goes on")
			}
			continue
		}
		th.pass(chunk, false, now)
		n--
	}
	return now.Sub(start)
}

// The rate is kept whatever the size of a chunk, with one window's worth at the start and the last
// chunk on credit.
func TestThrottleKeepsTheRate(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, chunk := range []int{1, 100, 1000, 10_000, 1_000_000} {
		took := drain(t, testThrottle(1000, now), now, chunk, 100)
		least, most := time.Duration(99*chunk-1000-chunk)*time.Millisecond, time.Duration(100*chunk)*time.Millisecond
		if took < least || took > most {
			t.Errorf("100 chunks of %d bytes took %v at 1000 bytes a second", chunk, took)
		}
	}
}

func TestThrottleSavesOneWindow(t *testing.T) {
	now := time.Unix(1000, 0)
	th := testThrottle(1000, now)
	now = now.Add(time.Hour)
	th.pass(999, false, now)
	if wait := th.wait(now); wait != 0 {
		t.Errorf("waits %v within the first window", wait)
	}
	th.pass(501, false, now)
	if wait := th.wait(now); wait != 500*time.Millisecond {
		t.Errorf("500 bytes ahead: waits %v", wait)
	}
}

// Traffic of in-sync replicas holds the others back, but is forgotten after the configured windows;
// traffic of the others is paid back in full.
func TestThrottleForgetsReplicasInSync(t *testing.T) {
	now := time.Unix(1000, 0)
	th := testThrottle(1000, now)
	th.pass(1_000_000, true, now)
	if now = now.Add(9 * time.Second); th.wait(now) == 0 {
		t.Error("what a replica in sync took does not count")
	}
	if now = now.Add(time.Second); th.wait(now) != 0 {
		t.Error("what a replica in sync took is not forgotten after ten windows")
	}
	th.pass(20_000, false, now)
	th.pass(1_000_000, true, now)
	if now = now.Add(19 * time.Second); th.wait(now) == 0 {
		t.Error("traffic in sync paid for what was not")
	}
	if now = now.Add(time.Second); th.wait(now) != 0 {
		t.Error("20000 bytes are not paid for after 20 s")
	}
}

func TestThrottleTakesAnotherRate(t *testing.T) {
	now := time.Unix(1000, 0)
	th := testThrottle(1000, now)
	th.pass(101_000, false, now) // 100 s
	th.setRate(100_000, now)
	if wait := th.wait(now); wait != throttleLookMax {
		t.Errorf("waits %v", wait)
	}
	now = now.Add(time.Second)
	if wait := th.wait(now); wait != 0 {
		t.Errorf("what is owed is not paid at the new rate: %v", wait)
	}
	th.pass(500, false, now)
	th.setRate(1000, now)
	now = now.Add(400 * time.Millisecond)
	th.setRate(100_000, now)
	if wait := th.wait(now); wait != throttleLookMin {
		t.Errorf("time at the old rate counts at the new one: waits %v", wait)
	}
	th.setRate(0, now)
	now = now.Add(time.Hour)
	if wait := th.wait(now); wait != throttleLookMax {
		t.Errorf("at 0 bytes a second it waits %v", wait)
	}
	th.setRate(Unthrottled, now)
	th.pass(1<<40, false, now)
	if wait := th.wait(now); wait != 0 {
		t.Errorf("without a rate it waits %v", wait)
	}
	th.setRate(1000, now)
	if wait := th.wait(now); wait != 0 {
		t.Errorf("what passed without a rate counts: %v", wait)
	}
}

// Bytes that were charged but not sent are refunded.
func TestThrottleGivesBack(t *testing.T) {
	now := time.Unix(1000, 0)
	th := testThrottle(1000, now)
	for range 100 {
		th.pass(5000, false, now)
		th.pass(-5000, false, now)
	}
	if wait := th.wait(now); wait != 0 {
		t.Errorf("waits %v", wait)
	}
	th.pass(-5000, false, now)
	th.pass(2000, false, now)
	if wait := th.wait(now); wait != time.Second {
		t.Errorf("more than a window was saved: waits %v", wait)
	}
}

func TestThrottleMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	now := time.Unix(1000, 0)
	th := registeredThrottle(reg, 1000, now)
	took := drain(t, th, now, 1000, 11)
	for range 10 { // several waits at the same time are not counted twice
		th.wait(now.Add(took))
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				got[strings.TrimPrefix(f.GetName(), "varve_replication_")+" "+l.GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if got["throttled_bytes_total leader"] != 11_000 || got["throttled_bytes_total follower"] != 0 {
		t.Errorf("bytes: %v", got)
	}
	if held := got["throttle_held_seconds_total leader"]; math.Abs(held-10) > 0.1 {
		t.Errorf("held back: %v", got)
	}
}

// throttleBench has broker 1, which leads a throttled and a free partition, and the manager of
// broker 3, which follows them. Of the followers 2 and 3, only 2 is in sync.
type throttleBench struct {
	leader, follower *Manager
	led, followed    [2]*Partition // throttled, free
}

// throttleBatch is the size of append's batches: a fetch whose limit is inside a batch would return
// more than is new.
const throttleBatch = 1071

// newThrottleBench throttles the leader's side, or the follower's.
func newThrottleBench(t *testing.T, rates ThrottleRates) *throttleBench {
	t.Helper()
	b := &throttleBench{}
	for _, id := range []int32{1, 3} {
		m := New(Options{
			BrokerID: id, Storage: openStorage(t, vfs.NewMem(), ""), Logger: slog.New(slog.DiscardHandler),
			Followers: Followers{BrokerEpoch: func() int64 { return 1 }, ReplicaFetchMaxBytes: 4 * throttleBatch},
		})
		m.throttles.setRates(rates)
		next := m.index.Load().edit()
		for n := range b.led {
			log, err := m.o.Storage.Create("t", int32(n), metadata.TopicID{1})
			if err != nil {
				t.Fatal(err)
			}
			p := m.newPartition(tpOf("t", int32(n)), metadata.TopicID{1}, log)
			p.configure(&Config{
				Log: storage.DefaultConfig(), MinInSyncReplicas: 1,
				LeaderThrottled: ThrottledOn(1, []string{"0:1"}), FollowerThrottled: ThrottledOn(3, []string{"0:3"}),
			})
			r := leads(0, 1, 2, 3)
			r.ISR = r.ISR[:2]
			if id == 1 {
				b.leader, b.led[n] = m, p
				err = p.lead(r)
			} else {
				b.follower, b.followed[n] = m, p
				p.resign(r)
			}
			if err != nil {
				t.Fatal(err)
			}
			next.add(p)
		}
		m.index.Store(&next.index)
	}
	return b
}

func (b *throttleBench) append(t *testing.T, n, batches int) (bytes int64) {
	t.Helper()
	for range batches {
		if _, err := b.led[n].Append(batch(t, time.Now().UnixMilli(), strings.Repeat("x", 1000)), AcksLeader); err != nil {
			t.Fatal(err)
		}
	}
	if size := b.led[n].log.Size(); size%throttleBatch == 0 {
		return size
	}
	t.Fatalf("batches do not have %d bytes", throttleBatch)
	return 0
}

// follow runs broker 3's fetcher until the test ends.
func (b *throttleBench) follow(t *testing.T, fetches *atomic.Int64) {
	t.Helper()
	f := newReplicaFetcher(b.follower.fetchers.env, fetcherKey{leader: metadata.Member{Broker: 1}}, countedConn{newLoopConn(b.leader), fetches})
	for _, p := range b.followed {
		f.add(p)
	}
	background(t, func(ctx context.Context) error { f.run(ctx); return nil })
}

type countedConn struct {
	LeaderConn
	n *atomic.Int64
}

func (c countedConn) Fetch(ctx context.Context, r *ReplicaFetch) ([]ReplicaFetched, error) {
	c.n.Add(1)
	return c.LeaderConn.Fetch(ctx, r)
}

// reach waits until a follower has n bytes.
func reach(ctx context.Context, p *Partition, n int64) bool {
	w := newWaiter()
	watches := []watch{{waiter: w}}
	p.watchers.add(&watches[0])
	defer p.watchers.remove(&watches[0])
	for p.log.Size() < n {
		select {
		case <-w.c:
			w.take(watches)
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// TestThrottledFollowerCatchesUpAtTheRate: a broker catches up with two partitions, one of them
// throttled on one side. The throttled one arrives at the rate. The free one arrives at once,
// including what is appended during the catch-up, and neither side busy-loops.
func TestThrottledFollowerCatchesUpAtTheRate(t *testing.T) {
	for side, rates := range map[string]ThrottleRates{
		"leader":   {Leader: 5000, Follower: Unthrottled},
		"follower": {Leader: Unthrottled, Follower: 5000},
	} {
		t.Run(side, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newThrottleBench(t, rates)
				throttled, free := b.append(t, 0, 100), b.append(t, 1, 100)
				var fetches atomic.Int64
				start := time.Now()
				b.follow(t, &fetches)
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				if !reach(ctx, b.followed[1], free) || time.Since(start) > time.Second {
					t.Errorf("the free partition took %v", time.Since(start))
				}
				for range 5 {
					time.Sleep(1300 * time.Millisecond)
					now := time.Now()
					if free = b.append(t, 1, 1); !reach(ctx, b.followed[1], free) || time.Since(now) > 100*time.Millisecond {
						t.Errorf("what came to the free partition took %v", time.Since(now))
					}
				}
				if b.followed[0].log.Size() == throttled {
					t.Fatal("the throttled partition came at once")
				}
				if !reach(ctx, b.followed[0], throttled) {
					t.Fatal("the throttled partition does not go on")
				}
				want := time.Duration(throttled) * time.Second / 5000
				if took := time.Since(start); took < want-2*time.Second || took > want+time.Second {
					t.Errorf("%d bytes took %v at 5000 bytes a second", throttled, took)
				}
				if n := fetches.Load(); n > 500 {
					t.Errorf("%d fetches", n)
				}
			})
		})
	}
}

// A leader that withholds records answers as soon as it may send them, not at the end of the
// follower's maximum wait.
func TestHeldFetchIsAnsweredInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newThrottleBench(t, ThrottleRates{Leader: 5000, Follower: Unthrottled})
		b.append(t, 0, 10)
		start := time.Now()
		fetch := func(replica int32, offset int64) int {
			results := make([]FetchResult, 1)
			b.leader.Fetch(t.Context(), FetchParams{
				MaxWait: time.Hour, MinBytes: 1, MaxBytes: 1 << 20, Isolation: ReadLogEnd, Replica: &metadata.Member{Broker: replica},
			}, []FetchPartition{{Partition: b.led[0], Offset: offset, MaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1}}, results)
			defer results[0].Records.Release()
			if results[0].Err != nil {
				t.Fatal(results[0].Err)
			}
			return results[0].Records.Len()
		}
		sent := fetch(3, 0)
		if time.Since(start) != 0 {
			t.Errorf("the first fetch took %v", time.Since(start))
		}
		if n := fetch(2, 0); n != sent || time.Since(start) != 0 {
			t.Errorf("a replica in sync got %d bytes after %v", n, time.Since(start))
		}
		if n := fetch(3, 0); n != sent {
			t.Errorf("%d bytes", n)
		}
		if took, want := time.Since(start), time.Duration(2*sent-5000)*time.Second/5000; took < want || took > want+throttleLookMin {
			t.Errorf("took %v, not %v", took, want)
		}
		var wg sync.WaitGroup
		// A removed rate, or a changed list of the topic, ends the wait.
		wg.Go(func() { fetch(3, 0) })
		synctest.Wait()
		start = time.Now()
		b.leader.throttles.setRates(ThrottleRates{Leader: Unthrottled, Follower: Unthrottled})
		wg.Wait()
		if took := time.Since(start); took > throttleLookMax {
			t.Errorf("took %v after the rate was gone", took)
		}
	})
}

// An in-sync follower fetches whatever the rate is, and its traffic is charged.
func TestFollowerInSyncIsNotHeld(t *testing.T) {
	b := newThrottleBench(t, ThrottleRates{Leader: Unthrottled, Follower: 5000})
	p, other := b.followed[0], b.followed[1]
	in, out := leads(0, 1, 2, 3), leads(0, 1, 2, 3)
	out.ISR = out.ISR[:2]
	in.PartitionEpoch, out.PartitionEpoch = 1, 2
	for i := range in.ISR {
		in.ISR[i].Epoch = 1
	}
	p.resign(in)
	b.follower.fetchers.env.received(p, 50_000)
	if wait := b.follower.fetchers.env.held(p, time.Now()); wait != 0 {
		t.Errorf("in sync it waits %v", wait)
	}
	p.resign(out)
	if wait := b.follower.fetchers.env.held(p, time.Now()); wait == 0 {
		t.Error("out of sync it does not wait")
	}
	if wait := b.follower.fetchers.env.held(other, time.Now()); wait != 0 {
		t.Errorf("one that is not throttled waits %v", wait)
	}
	if b.follower.fetchers.env.received(other, 1<<30); b.follower.throttles.follower.mu.balance < -60_000 {
		t.Error("what is not throttled counts")
	}
}

// The rates follow the broker's settings, and no fetch waits for a rate that is no longer set.
func TestManagerFollowsThrottleRates(t *testing.T) {
	c := newClusterTest(t, vfs.NewMem())
	c.storage = openStorage(t, c.fs, c.id)
	c.m = New(Options{
		BrokerID: 1, Storage: c.storage, Tier: c.tier, Cluster: c.follower, Logger: slog.New(slog.DiscardHandler), Config: testConfig,
		Followers: Followers{BrokerEpoch: c.epoch.Load},
		Throttling: Throttling{Rates: func(image *metadata.Image) ThrottleRates {
			if image.BrokerConfigs(1)["rate"] == "set" {
				return ThrottleRates{Leader: 7, Follower: 8}
			}
			return ThrottleRates{Leader: Unthrottled, Follower: 9}
		}},
	})
	background(t, c.m.Run)
	if err := c.m.Loaded(t.Context()); err != nil {
		t.Fatal(err)
	}
	rates := func() []float64 {
		var r []float64
		for _, th := range []*throttle{c.m.throttles.leader, c.m.throttles.follower} {
			th.mu.Lock()
			r = append(r, th.mu.rate)
			th.mu.Unlock()
		}
		return r
	}
	if got := rates(); !slices.Equal(got, []float64{math.Inf(1), 9}) {
		t.Errorf("at start %v", got)
	}
	for value, want := range map[string][]float64{"set": {7, 8}} {
		for _, step := range []struct {
			configs map[string]string
			want    []float64
		}{{map[string]string{"rate": value}, want}, {nil, []float64{math.Inf(1), 9}}} {
			err := c.admin.UpdateConfigs(t.Context(), metadata.ConfigResource{Kind: metadata.BrokerConfig, Broker: 1},
				func(map[string]string) (map[string]string, error) { return step.configs, nil })
			if err != nil {
				t.Fatal(err)
			}
			c.settle()
			if got := rates(); !slices.Equal(got, step.want) {
				t.Errorf("%v: %v", step.configs, got)
			}
		}
	}
}
