package replication

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/vfs"
)

func part(p *Partition, offset int64) FetchPartition {
	return FetchPartition{Partition: p, Offset: offset, MaxBytes: 1 << 20, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1}
}

func params(wait time.Duration, minBytes int) FetchParams {
	return FetchParams{MaxWait: wait, MinBytes: minBytes, MaxBytes: 50 << 20}
}

// fetchAll is a fetch with results of its own.
func fetchAll(ctx context.Context, m *Manager, p FetchParams, partitions []FetchPartition) []FetchResult {
	results := make([]FetchResult, len(partitions))
	m.Fetch(ctx, p, partitions, results)
	return results
}

// outcome returns what a fetch got for each partition: values, or the error.
func outcome(t *testing.T, partitions []FetchPartition, results []FetchResult) []string {
	t.Helper()
	out := make([]string, len(results))
	for i := range results {
		if results[i].Err != nil {
			out[i] = "error"
		} else {
			out[i] = fmt.Sprint(values(t, &results[i].Records, partitions[i].Offset))
		}
		results[i].Records.Release()
	}
	return out
}

func (b *bench) others(t *testing.T, n int) []*Partition {
	t.Helper()
	all := []*Partition{b.Partition}
	for i := range n {
		all = append(all, b.partition(t, metadata.TopicPartition{Topic: "t", Partition: int32(i + 1)}, *b.config.Load()))
	}
	return all
}

func TestFetchWaitsForData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		all := b.others(t, 2)
		asked := []FetchPartition{part(all[0], 0), part(all[1], 0), part(all[2], 0)}
		start := time.Now()
		if got := outcome(t, asked, fetchAll(t.Context(), b.m, params(time.Minute, 1), asked)); !slices.Equal(got, []string{"[]", "[]", "[]"}) {
			t.Errorf("nothing was written, got %q", got)
		}
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("waited %v", waited)
		}

		start = time.Now()
		done := make(chan []string)
		go func() { done <- outcome(t, asked, fetchAll(t.Context(), b.m, params(time.Hour, 1), asked)) }()
		synctest.Wait()
		if _, err := all[1].Append(batch(t, 1000, "news"), AcksLeader); err != nil {
			t.Fatal(err)
		}
		if got := <-done; !slices.Equal(got, []string{"[]", "[news]", "[]"}) {
			t.Errorf("got %q", got)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v", waited)
		}
		for _, p := range all {
			if p.watchers.n.Load() != 0 {
				t.Errorf("%s: a watch is left behind", p.tp)
			}
		}
	})
}

func TestFetchWaitsForMinBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		all := b.others(t, 1)
		asked := []FetchPartition{part(all[0], 0), part(all[1], 0)}
		one := len(batch(t, 1000, "v"))
		done := make(chan []string)
		go func() { done <- outcome(t, asked, fetchAll(t.Context(), b.m, params(time.Hour, 3*one), asked)) }()
		for _, p := range []int{0, 1, 0} {
			synctest.Wait()
			select {
			case got := <-done:
				t.Fatalf("answered too early: %q", got)
			default:
			}
			if _, err := all[p].Append(batch(t, 1000, "v"), AcksLeader); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-done; !slices.Equal(got, []string{"[v v]", "[v]"}) {
			t.Errorf("got %q", got)
		}
	})
}

func TestFetchDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		all := b.others(t, 1)
		if _, err := all[0].Append(batch(t, 1000, "v"), AcksLeader); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for _, c := range []struct {
			name   string
			params FetchParams
			asked  []FetchPartition
			want   []string
		}{
			{"no wait asked for", params(0, 1000), []FetchPartition{part(all[0], 1)}, []string{"[]"}},
			{"no bytes asked for", params(time.Hour, 0), []FetchPartition{part(all[0], 1)}, []string{"[]"}},
			{"enough bytes", params(time.Hour, 1), []FetchPartition{part(all[1], 0), part(all[0], 0)}, []string{"[]", "[v]"}},
			{"an error", params(time.Hour, 1000), []FetchPartition{part(all[1], 0), part(all[0], 7)}, []string{"[]", "error"}},
			{"nothing asked for", params(time.Hour, 1), nil, []string{}},
			{"a limit below min bytes", FetchParams{MaxWait: time.Hour, MinBytes: 1000, MaxBytes: 1}, []FetchPartition{part(all[0], 0)}, []string{"[v]"}},
		} {
			if got := outcome(t, c.asked, fetchAll(t.Context(), b.m, c.params, c.asked)); !slices.Equal(got, c.want) {
				t.Errorf("%s: got %q, want %q", c.name, got, c.want)
			}
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestFetchEndsWithTheLeadershipOrItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		asked := []FetchPartition{part(b.Partition, 0)}
		done := make(chan []string)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { done <- outcome(t, asked, fetchAll(ctx, b.m, params(time.Hour, 1), asked)) }()
		synctest.Wait()
		cancel()
		<-done
		go func() { done <- outcome(t, asked, fetchAll(t.Context(), b.m, params(time.Hour, 1), asked)) }()
		synctest.Wait()
		b.resign(led(1, 2))
		if got := <-done; got[0] != "error" {
			t.Errorf("deposed: %q", got)
		}
	})
}

func TestFetchSharesItsBytes(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	all := b.others(t, 3)
	one := len(batch(t, 1000, "v"))
	asked := make([]FetchPartition, len(all))
	for i, p := range all {
		for range 3 {
			if _, err := p.Append(batch(t, 1000, "v"), AcksLeader); err != nil {
				t.Fatal(err)
			}
		}
		asked[i] = part(p, 0)
		asked[i].MaxBytes = 2 * one
	}
	for _, c := range []struct {
		max  int
		want []string
	}{
		{100 * one, []string{"[v v]", "[v v]", "[v v]", "[v v]"}},
		{3 * one, []string{"[v v]", "[v]", "[]", "[]"}},
		{1, []string{"[v]", "[]", "[]", "[]"}},
		{0, []string{"[v]", "[]", "[]", "[]"}},
	} {
		got := outcome(t, asked, fetchAll(t.Context(), b.m, FetchParams{MaxBytes: c.max}, asked))
		if !slices.Equal(got, c.want) {
			t.Errorf("max bytes %d: got %q, want %q", c.max, got, c.want)
		}
	}
}

// frozenBench has partition 0 with the offsets 0 to 9 only in the bucket, and partition 1
// completely on local disk.
func frozenBench(t *testing.T) (b *bench, hot *Partition) {
	t.Helper()
	b = newBench(t, vfs.NewMem(), nil)
	b.fill(t, 12, 10)
	b.freeze(t, 10)
	hot = b.others(t, 1)[1]
	if _, err := hot.Append(batch(t, 1000, "hot"), AcksLeader); err != nil {
		t.Fatal(err)
	}
	return b, hot
}

func TestFetchReadsTheBucket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, hot := frozenBench(t)
		asked := []FetchPartition{part(b.Partition, 3), part(hot, 0)}
		start := time.Now()
		got := outcome(t, asked, fetchAll(t.Context(), b.m, params(0, 1), asked))
		if !slices.Equal(got, []string{"[3 4 5 6 7 8 9]", "[hot]"}) || time.Since(start) != 0 {
			t.Errorf("got %q after %v", got, time.Since(start))
		}
		if b.m.cold.mu.memory != 0 || len(b.m.cold.mu.orphans) != 0 {
			t.Errorf("%d bytes and %d orphans are left", b.m.cold.mu.memory, len(b.m.cold.mu.orphans))
		}
	})
}

// A bucket that does not answer delays no partition whose data is on disk (R16), and the next fetch
// takes over the slow read.
func TestSlowBucketDoesNotDelayHotPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, hot := frozenBench(t)
		b.tier.hold = make(chan struct{})
		asked := []FetchPartition{part(b.Partition, 3), part(hot, 0)}
		for i, most := range []time.Duration{coldGrace, 0, 0} {
			start := time.Now()
			got := outcome(t, asked, fetchAll(t.Context(), b.m, params(time.Hour, 1), asked))
			if waited := time.Since(start); !slices.Equal(got, []string{"[]", "[hot]"}) || waited > most {
				t.Errorf("fetch %d: got %q after %v", i, got, waited)
			}
		}
		if n := len(b.tier.started); n != 1 {
			t.Errorf("%d reads were started for one offset", n)
		}
		// The client has read the hot partition, and both partitions wait: the first one with data
		// answers.
		asked[1].Offset = 1
		done := make(chan []string)
		go func() { done <- outcome(t, asked, fetchAll(t.Context(), b.m, params(time.Hour, 1), asked)) }()
		synctest.Wait()
		if _, err := hot.Append(batch(t, 1000, "more"), AcksLeader); err != nil {
			t.Fatal(err)
		}
		if got := <-done; !slices.Equal(got, []string{"[]", "[more]"}) {
			t.Errorf("hot data came first: %q", got)
		}
		asked[1].Offset = 2
		go func() { done <- outcome(t, asked, fetchAll(t.Context(), b.m, params(time.Hour, 1), asked)) }()
		synctest.Wait()
		close(b.tier.hold)
		if got := <-done; !slices.Equal(got, []string{"[3 4 5 6 7 8 9]", "[]"}) {
			t.Errorf("cold data came first: %q", got)
		}
		synctest.Wait()
		if b.m.cold.mu.memory != 0 || len(b.m.cold.mu.orphans) != 0 {
			t.Errorf("%d bytes and %d orphans are left", b.m.cold.mu.memory, len(b.m.cold.mu.orphans))
		}
	})
}

func TestColdFetchWaitsForTheBucketALimitedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := frozenBench(t)
		b.tier.hold = make(chan struct{})
		asked := []FetchPartition{part(b.Partition, 3)}
		for _, c := range []struct{ wait, want time.Duration }{
			{0, b.m.coldMaxWait}, {time.Hour, time.Hour},
		} {
			start := time.Now()
			got := outcome(t, asked, fetchAll(t.Context(), b.m, params(c.wait, 1), asked))
			if waited := time.Since(start); !slices.Equal(got, []string{"[]"}) || waited != c.want {
				t.Errorf("wait %v: got %q after %v", c.wait, got, waited)
			}
		}
		close(b.tier.hold)
		synctest.Wait()
		if b.m.cold.mu.memory != 0 || len(b.m.cold.mu.orphans) != 0 {
			t.Errorf("%d bytes and %d orphans are left", b.m.cold.mu.memory, len(b.m.cold.mu.orphans))
		}
	})
}

func TestFailedColdReadIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, hot := frozenBench(t)
		b.tier.err = tiering.ErrUnavailable
		asked := []FetchPartition{part(b.Partition, 3), part(hot, 1)}
		if got := outcome(t, asked, fetchAll(t.Context(), b.m, params(time.Hour, 1), asked)); !slices.Equal(got, []string{"error", "[]"}) {
			t.Errorf("got %q", got)
		}
		synctest.Wait()
		if b.m.cold.mu.memory != 0 {
			t.Errorf("%d bytes are left", b.m.cold.mu.memory)
		}
	})
}

// Results of cold reads that clients are slow to take are bounded: beyond the bound, cold
// partitions stay empty for a while.
func TestColdReadsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := frozenBench(t)
		asked := []FetchPartition{part(b.Partition, 3)}
		held := fetchAll(t.Context(), b.m, params(0, 1), asked)
		b.m.cold.mu.memory += coldMemory
		start := time.Now()
		if got := outcome(t, asked, fetchAll(t.Context(), b.m, params(time.Second, 1), asked)); got[0] != "[]" || time.Since(start) != time.Second {
			t.Errorf("got %q after %v", got, time.Since(start))
		}
		b.m.cold.mu.memory -= coldMemory
		if b.m.cold.mu.memory == 0 {
			t.Error("the result that is held is not counted")
		}
		held[0].Records.Release()
		held[0].Records.Release()
		if b.m.cold.mu.memory != 0 {
			t.Errorf("%d bytes are left", b.m.cold.mu.memory)
		}
	})
}

// A fetch sees an append, or the end of the leadership, between its first look and its registration
// as a watcher (R9).
func TestFetchSeesWhatCameBeforeItWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		asked := []FetchPartition{part(b.Partition, 0)}
		for _, meanwhile := range []func(){
			func() { b.append(t, AcksLeader, "v") },
			func() { b.resign(led(1, 2)) },
		} {
			asked[0].Offset = b.log.EndOffset()
			f := &delayedFetch{cold: b.m.cold, params: params(time.Hour, 1), partitions: asked, results: make([]FetchResult, 1), left: 1000}
			f.read(t.Context(), 0)
			meanwhile()
			start := time.Now()
			f.wait(t.Context(), 0)
			if got := outcome(t, asked, f.results); got[0] == "[]" || time.Since(start) != 0 {
				t.Errorf("got %q after %v", got, time.Since(start))
			}
		}
	})
}

// A result that no fetch takes releases its memory, whether the read ends before or after it was
// abandoned.
func TestAbandonedColdReadsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := frozenBench(t)
		for _, late := range []bool{false, true} {
			b.tier.hold = make(chan struct{})
			w := &watch{waiter: newWaiter()}
			r, fresh := b.m.cold.start("", coldKey{b.Partition, 3, false}, 1000, 10, w)
			if r == nil || !fresh || b.m.cold.mu.memory != 1000 {
				t.Fatalf("start: %v, fresh %v, %d bytes", r, fresh, b.m.cold.mu.memory)
			}
			if late {
				b.m.cold.abandon(r)
			}
			close(b.tier.hold)
			synctest.Wait()
			if !late {
				b.m.cold.abandon(r)
			}
			if b.m.cold.mu.memory != 0 || len(b.m.cold.mu.orphans) != 0 {
				t.Errorf("late %v: %d bytes and %d orphans are left", late, b.m.cold.mu.memory, len(b.m.cold.mu.orphans))
			}
		}
	})
}

// Producers and long-polling consumers at full speed: every record arrives, in order, without the
// help of a timer.
func TestLongPollsSeeEveryRecord(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	all := b.others(t, 2)
	const each = 1500
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			asked := make([]FetchPartition, len(all))
			for i, p := range all {
				asked[i] = part(p, 0)
			}
			for read := 0; read < each*len(all); {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				results := fetchAll(ctx, b.m, params(time.Hour, 1), asked)
				lost := ctx.Err() != nil
				cancel()
				if lost {
					t.Errorf("asleep after %d records", read)
					return
				}
				for i := range results {
					got := values(t, &results[i].Records, asked[i].Offset)
					results[i].Records.Release()
					for _, v := range got {
						if v != fmt.Sprint(asked[i].Offset) {
							t.Errorf("partition %d: %s at offset %d", i, v, asked[i].Offset)
							return
						}
						asked[i].Offset++
						read++
					}
				}
			}
		})
	}
	for _, p := range all {
		wg.Go(func() {
			for i := range each {
				if _, err := p.Append(batch(t, 1000, fmt.Sprint(i)), AcksLeader); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
