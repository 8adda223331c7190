package replication

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata"
)

// damagedConn is a connection to a leader whose records are sometimes damaged.
type damagedConn struct {
	loopConn
	damaged atomic.Bool
	fetched chan struct{} // receives a token for each damaged answer
}

func (c *damagedConn) Fetch(ctx context.Context, r *ReplicaFetch) ([]ReplicaFetched, error) {
	answers, err := c.loopConn.Fetch(ctx, r)
	for i := range answers {
		if n := len(answers[i].Records); n > 0 && c.damaged.Load() {
			answers[i].Records[n-1] ^= 1
			c.fetched <- struct{}{}
		}
	}
	return answers, err
}

// warnings records the messages that were logged as warnings.
type warnings struct {
	slog.Handler
	mu   sync.Mutex
	told []string
}

func (w *warnings) Enabled(context.Context, slog.Level) bool { return true }

func (w *warnings) Handle(_ context.Context, r slog.Record) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.Level == slog.LevelWarn {
		w.told = append(w.told, r.Message)
	}
	return nil
}

// A follower that cannot use its leader's records logs that once, and once more when it continues.
func TestStuckFollowerWarns(t *testing.T) {
	b := newThrottleBench(t, ThrottleRates{Leader: Unthrottled, Follower: Unthrottled})
	logged := &warnings{Handler: slog.DiscardHandler}
	b.follower.fetchers.env.logger = slog.New(logged)
	conn := &damagedConn{loopConn: newLoopConn(b.leader), fetched: make(chan struct{}, 100)}
	conn.damaged.Store(true)
	f := newReplicaFetcher(b.follower.fetchers.env, fetcherKey{leader: metadata.Member{Broker: 1}}, conn)
	f.add(b.followed[1])
	stop := background(t, func(ctx context.Context) error { f.run(ctx); return nil })
	size := b.append(t, 1, 1)
	for range 4 {
		<-conn.fetched
	}
	conn.damaged.Store(false)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if !reach(ctx, b.followed[1], size) {
		t.Fatal("the follower does not go on")
	}
	stop()
	if len(logged.told) != 2 || !strings.Contains(logged.told[0], "cannot go on") || !slices.Contains(logged.told[1:], "a follower goes on") {
		t.Errorf("warned %q", logged.told)
	}
}

// Images that differ between brokers for a moment, as at every election, are not worth a warning.
func TestElectionIsNoTrouble(t *testing.T) {
	b := newThrottleBench(t, ThrottleRates{Leader: Unthrottled, Follower: Unthrottled})
	logged := &warnings{Handler: slog.DiscardHandler}
	b.follower.fetchers.env.logger = slog.New(logged)
	f := newReplicaFetcher(b.follower.fetchers.env, fetcherKey{}, newLoopConn(b.leader))
	p := b.followed[0]
	for _, err := range append(slices.Clone(electing), ErrOffsetMovedToTier) {
		f.stuck(p, err)
	}
	f.goesOn(p)
	if len(logged.told) > 0 {
		t.Errorf("warned %q", logged.told)
	}
	f.troubles[p] = trouble{since: time.Now().Add(-2 * troubleGrace)}
	f.stuck(p, ErrNotLeader)
	if len(logged.told) != 1 {
		t.Errorf("trouble that lasts warns %q", logged.told)
	}
}

// A leader may apply an election some milliseconds after its followers, or before them. Records
// with acks=all wait for the next fetch then, so the pauses begin short.
func TestElectionPausesBriefly(t *testing.T) {
	b := newThrottleBench(t, ThrottleRates{Leader: Unthrottled, Follower: Unthrottled})
	now := time.Now()
	b.follower.fetchers.env.now = func() time.Time { return now }
	b.follower.fetchers.env.o.ReplicaMaxWait = time.Hour
	f := newReplicaFetcher(b.follower.fetchers.env, fetcherKey{leader: metadata.Member{Broker: 1}}, newLoopConn(b.leader))
	f.add(b.followed[0])
	f.add(b.followed[1])
	refused := func(err error) time.Duration {
		t.Helper()
		if wait := f.prepare(); wait != 0 || len(f.asked) != 2 {
			t.Fatalf("%d partitions are asked for, and it waits for %v", len(f.asked), wait)
		}
		f.apply([]ReplicaFetched{{At: slices.Index(f.asked, b.followed[0]), Err: err}})
		if wait := f.prepare(); wait != 0 || len(f.asked) != 1 {
			t.Fatalf("%d partitions are asked for, and it waits for %v", len(f.asked), wait)
		}
		pause := f.wait()
		now = now.Add(pause)
		return pause
	}
	for _, err := range electing {
		var all []int64
		for range 6 {
			all = append(all, refused(err).Milliseconds())
		}
		if !slices.Equal(all, []int64{5, 10, 20, 40, 80, 100}) {
			t.Errorf("%v: the pauses are %v ms", err, all)
		}
		f.goesOn(b.followed[0])
	}
	if pause := refused(ErrOffsetMovedToTier); pause != partitionBackoff {
		t.Errorf("after another error it pauses for %v", pause)
	}
}
