package replication

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/vfs"
)

// silentTier is a tier whose reads of one partition do not return before their context ends.
type silentTier struct {
	*fakeTier
	stuck metadata.TopicPartition
}

func (s silentTier) Read(ctx context.Context, tp metadata.TopicPartition, offset int64, maxBytes int, limit int64) (tiering.Batches, error) {
	if tp == s.stuck && !tiering.ReaderOf(ctx).Cached {
		<-ctx.Done()
		return tiering.Batches{}, ctx.Err()
	}
	return s.fakeTier.Read(ctx, tp, offset, maxBytes, limit)
}

// manyColdReads is more than the bucket serves at a time.
const manyColdReads = 30

// TestStuckReadsHoldUpNoOthers: many reads of one partition hang and are requested again and again.
// Their fetches return empty, without an error; other partitions are served.
func TestStuckReadsHoldUpNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		b.fill(t, 12, 10)
		b.freeze(t, 10)
		other := &bench{Partition: b.others(t, 1)[1], m: b.m, tier: b.tier}
		other.fill(t, 12, 10)
		other.freeze(t, 10)
		b.Partition.tier = silentTier{b.tier, b.tp}
		patience := 20 * b.m.coldMaxWait
		done := make(chan []string)
		for i := range manyColdReads {
			asked := []FetchPartition{part(b.Partition, int64(i%10))}
			go func() { done <- outcome(t, asked, fetchAll(t.Context(), b.m, params(patience, 1), asked)) }()
		}
		synctest.Wait()
		start := time.Now()
		asked := []FetchPartition{part(other.Partition, 3)}
		if got := outcome(t, asked, fetchAll(t.Context(), b.m, params(patience, 1), asked)); !slices.Equal(got, []string{"[3 4 5 6 7 8 9]"}) {
			t.Errorf("the other partition: %q", got)
		}
		if waited := time.Since(start); waited > 4*b.m.coldMaxWait {
			t.Errorf("the other partition waited %v", waited)
		}
		for range manyColdReads {
			if got := <-done; !slices.Equal(got, []string{"[]"}) {
				t.Errorf("the stuck partition: %q", got)
			}
		}
		time.Sleep(2 * patience)
		synctest.Wait()
		if b.m.cold.mu.memory != 0 || len(b.m.cold.mu.orphans) != 0 {
			t.Errorf("%d bytes and %d orphans are left", b.m.cold.mu.memory, len(b.m.cold.mu.orphans))
		}
		if n := b.traffic.Remote.FetchErrors.Load(); n != 0 {
			t.Errorf("%d reads count as failed", n)
		}
	})
}

// TestReadThatIsTakenOver: the fetch that takes over a read gets no more bytes than it asked for,
// and no offsets above its own limit.
func TestReadThatIsTakenOver(t *testing.T) {
	one := len(batch(t, 1000, "0"))
	for name, c := range map[string]struct {
		most int
		upTo int64
		want []string
	}{
		"fewer bytes":    {2 * one, 10, []string{"3", "4"}},
		"one batch":      {1, 10, []string{"3"}},
		"a lower limit":  {1 << 20, 5, []string{"3", "4"}},
		"all":            {1 << 20, 10, []string{"3", "4", "5", "6", "7", "8", "9"}},
		"more than that": {2 << 20, 12, []string{"3", "4", "5", "6", "7", "8", "9"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := frozenBench(t)
				b.tier.hold = make(chan struct{})
				waiter := newWaiter()
				watches := []watch{{waiter: waiter}, {waiter: waiter, index: 1}}
				key := coldKey{b.Partition, 3, false}
				first, fresh := b.m.cold.start("", key, 1<<20, 10, &watches[0])
				if !fresh {
					t.Fatal("it is not the first")
				}
				synctest.Wait()
				b.m.cold.abandon(first)
				second, fresh := b.m.cold.start("", key, c.most, c.upTo, &watches[1])
				if fresh || second != first {
					t.Fatal("it was not taken over")
				}
				close(b.tier.hold)
				<-waiter.c
				records, _, err := b.m.cold.result(second)
				if got := values(t, &records, 3); err != nil || !slices.Equal(got, c.want) {
					t.Errorf("%q, %v; want %q", got, err, c.want)
				}
				records.Release()
			})
		})
	}
}

// TestColdResultsAreChargedForWhatTheyHold: a few batches may keep a whole chunk in memory.
func TestColdResultsAreChargedForWhatTheyHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := frozenBench(t)
		b.tier.held = 5 << 20
		asked := []FetchPartition{part(b.Partition, 3)}
		results := fetchAll(t.Context(), b.m, params(0, 1), asked)
		if b.m.cold.mu.memory != 5<<20 {
			t.Errorf("%d bytes are charged, of a result that holds %d", b.m.cold.mu.memory, 5<<20)
		}
		results[0].Records.Release()
		if b.m.cold.mu.memory != 0 {
			t.Errorf("%d bytes are left", b.m.cold.mu.memory)
		}
	})
}

// TestWhatIsInMemoryIsReadAtOnce: no read is queued, no time passes, and the result is charged
// until it is released.
func TestWhatIsInMemoryIsReadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, hot := frozenBench(t)
		b.tier.inMemory = true
		asked := []FetchPartition{part(b.Partition, 3), part(hot, 0)}
		began := time.Now()
		results := fetchAll(t.Context(), b.m, params(time.Hour, 1), asked)
		if held := b.m.cold.mu.memory; held != results[0].Records.Len() || held == 0 {
			t.Errorf("%d bytes are charged, of %d", held, results[0].Records.Len())
		}
		if got := outcome(t, asked, results); !slices.Equal(got, []string{"[3 4 5 6 7 8 9]", "[hot]"}) || time.Since(began) != 0 {
			t.Errorf("got %q after %v", got, time.Since(began))
		}
		if n := len(b.tier.started); n != 1 || b.m.cold.mu.memory != 0 {
			t.Errorf("%d reads, %d bytes are left", n, b.m.cold.mu.memory)
		}
		if n := counterOf(t, b.m.metrics.coldReads.WithLabelValues("cached")); n != 1 {
			t.Errorf("%v reads were done by their fetch, want 1", n)
		}
	})
}

// TestColdPartitionsOfAFetchAreReadTogether: the cold partitions of one fetch are read
// concurrently.
func TestColdPartitionsOfAFetchAreReadTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		asked := make([]FetchPartition, 12)
		for i, p := range b.others(t, len(asked)-1) {
			o := &bench{Partition: p, m: b.m, tier: b.tier}
			o.fill(t, 12, 10)
			o.freeze(t, 10)
			asked[i] = part(p, 3)
		}
		b.tier.hold = make(chan struct{})
		time.AfterFunc(20*time.Millisecond, func() { close(b.tier.hold) })
		began := time.Now()
		got := outcome(t, asked, fetchAll(t.Context(), b.m, params(time.Second, 1<<20), asked))
		for i := range got {
			if got[i] != "[3 4 5 6 7 8 9]" {
				t.Errorf("partition %d: %q", i, got[i])
			}
		}
		if took := time.Since(began); took < 20*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}
