package etcd

import (
	"context"
	"errors"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/storage/wal"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/runtest"
)

// TestBlankMemberBeginsNothingWithOneThatLags: a member loses its disk while a second one does not
// have what the first and the third have committed. The first two are a majority, and must not
// begin again from the state of the second.
func TestBlankMemberBeginsNothingWithOneThatLags(t *testing.T) {
	t.Parallel()
	m := openMembers(t)
	if t.Failed() {
		t.FailNow()
	}
	closeStore(t, m.stores[2])
	m.stores[2] = nil
	write(t, m.stores[0], "kept")
	closeStore(t, m.stores[1])
	m.stores[1] = nil
	m.lose(t, 0)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var waiting atomic.Bool
	change := func(o *EmbeddedOptions) {
		o.majority = time.Second
		o.Waits = func(what string) {
			waiting.Store(true)
			// The member that lags has answered.
			if strings.Contains(what, "a majority of the other members") {
				cancel()
			}
		}
	}
	var all sync.WaitGroup
	all.Go(func() { // first, when no other member answers
		s, err := m.try(ctx, t, 0, change)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the one that lags was not asked: %v", err)
		}
		if err == nil {
			pair, getErr := s.Get(ctx, "kept")
			t.Errorf("a cluster began again: it has %q, %v", pair.Value, getErr)
			closeStore(t, s)
		}
	})
	for ctx.Err() == nil && !waiting.Load() && !hasFiles(filepath.Join(m.dir, "0")) {
		runtime.Gosched()
	}
	var lagging sync.WaitGroup
	lagging.Go(func() { m.open(t, 2) })
	all.Wait()
	if t.Failed() {
		lagging.Wait()
		t.FailNow()
	}
	lagging.Go(func() { m.open(t, 1) })
	m.open(t, 0)
	lagging.Wait()
	m.hasEverything(t, 0, 2)
}

// TestBlankMemberWaitsForAllSeeds starts members without files one after the other.
func TestBlankMemberWaitsForAllSeeds(t *testing.T) {
	t.Parallel()
	m := freshMembers(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var waits string
	_, err := m.try(ctx, t, 0, func(o *EmbeddedOptions) { o.Waits = func(what string) { waits = what } })
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "broker 2 at "+m.peers[1].Control) || !strings.Contains(err.Error(), "broker 3 at ") {
		t.Errorf("%v", err)
	}
	if !strings.Contains(waits, "broker 2 at "+m.peers[1].Control) {
		t.Errorf("it waits for %q", waits)
	}
	if wal.Exist(filepath.Join(m.dir, "0", "member", "wal")) {
		t.Error("a member has begun, and two of three seeds have not been asked")
	}
	m.openAll(t)
}

// TestFoundedWithoutASeedThatNeverComes: --found begins the cluster without a seed. The seed starts
// nevertheless, and takes its place.
func TestFoundedWithoutASeedThatNeverComes(t *testing.T) {
	t.Parallel()
	m := freshMembers(t)
	var two sync.WaitGroup
	for i := range 2 {
		two.Go(func() {
			s, err := m.try(t.Context(), t, i, func(o *EmbeddedOptions) { o.Member.Found = true })
			if err != nil {
				t.Error(err)
				return
			}
			m.stores[i] = s
		})
	}
	two.Wait()
	if t.Failed() {
		t.FailNow()
	}
	write(t, m.stores[0], "kept")
	m.open(t, 2)
	m.hasEverything(t, 2, 1)
}

// TestUsedDirectoryFoundsNothing: brokers whose data directories hold logs found no cluster: alone,
// among seeds, and as a seed that others ask.
func TestUsedDirectoryFoundsNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "etcd")
	_, err := OpenEmbedded(t.Context(), EmbeddedOptions{Dir: dir, Cluster: "test", Logger: runtest.Logger(t), Holds: "logs in /d"})
	oneLine(t, err, "logs in /d", "restore")
	if wal.Exist(filepath.Join(dir, "member", "wal")) {
		t.Error("it has begun")
	}

	m := freshMembers(t)
	_, err = m.try(t.Context(), t, 0, func(o *EmbeddedOptions) { o.Holds, o.Member.Found = "logs in /d", true })
	oneLine(t, err, "--found", "logs in /d")

	m.noneFounds(t, "logs in /d", func(i int, o *EmbeddedOptions) {
		if i == 1 {
			o.Holds = "logs in /d"
		}
	})
}

// TestSeedsMustAgree: one seed has another cluster name, or other seeds.
func TestSeedsMustAgree(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(o *EmbeddedOptions){
		"cluster": func(o *EmbeddedOptions) { o.Cluster = "other" },
		"seeds": func(o *EmbeddedOptions) {
			o.Member.Peers = append(o.Member.Peers[:2:2], Peer{NodeID: 4, Control: freeControl(t)})
		},
	} {
		t.Run(name, func(t *testing.T) {
			freshMembers(t).noneFounds(t, "other", func(i int, o *EmbeddedOptions) {
				if i == 1 {
					change(o)
				}
			})
		})
	}
}

// noneFounds starts all members, and stops them after each has named the reason: none may found a
// cluster before that.
func (m *members) noneFounds(t *testing.T, reason string, change func(i int, o *EmbeddedOptions)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var started, told sync.WaitGroup
	told.Add(len(m.stores))
	for i := range m.stores {
		once := sync.OnceFunc(told.Done)
		started.Go(func() {
			defer once()
			given := false
			s, err := m.try(ctx, t, i, func(o *EmbeddedOptions) {
				change(i, o)
				o.Waits = func(what string) {
					if strings.Contains(what, reason) {
						given = true
						once()
					}
				}
			})
			if err == nil {
				closeStore(t, s)
			}
			// The error is that of the last round, which was interrupted.
			if !given || !errors.Is(err, context.Canceled) {
				t.Errorf("member %d: %v", i+1, err)
			}
		})
	}
	told.Wait()
	cancel()
	started.Wait()
}

// write writes a key, and retries until it succeeds.
func write(t *testing.T, s *Store, key string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := s.Txn(t.Context(), nil, kv.Put(key, []byte("value")))
		if err == nil {
			return
		}
		if !errors.Is(err, kv.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// writeOnce is write for a missing key, so that a watcher sees one change.
func writeOnce(t *testing.T, s *Store, key string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := s.Txn(t.Context(), []kv.Comparison{kv.Absent(key)}, kv.Put(key, nil))
		// After a conflict, an attempt without an answer had succeeded.
		if err == nil || errors.Is(err, kv.ErrConflict) {
			return
		}
		if !errors.Is(err, kv.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// try is open with other options, for as long as ctx lasts.
func (m *members) try(ctx context.Context, t *testing.T, i int, change func(*EmbeddedOptions)) (*Store, error) {
	t.Helper()
	o := EmbeddedOptions{
		Dir: filepath.Join(m.dir, strconv.Itoa(i)), Cluster: "test", Logger: runtest.Logger(t), quota: m.quota, tick: m.tick, unsynced: true,
		Member: &Member{NodeID: int32(i + 1), Peers: m.peers, TLS: m.tls[i]},
	}
	if change != nil {
		change(&o)
	}
	return OpenEmbedded(ctx, o)
}
