package tiering

import (
	"context"
	"errors"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const testChunk = testChunkKiB << 10

// inBubble runs a test of a modelled store in virtual time.
func inBubble(t *testing.T, partitions, segments, perSegment int, test func(t *testing.T, w *modelled), change ...func(*Options)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w, stop := newModelled(t.Context(), partitions, segments, perSegment, testChunk, change...)
		defer stop()
		test(t, w)
	})
}

// The first record at a cold offset costs the directory and one chunk, wherever it is and however
// much its reader would take.
func TestFirstRecordCostsOneSmallRange(t *testing.T) {
	inBubble(t, 1, 2, 64, func(t *testing.T, w *modelled) {
		t.Helper()
		began := time.Now()
		b, err := w.m.Read(t.Context(), w.tp(0), 77, 50<<20, math.MaxInt64)
		if err != nil || b.Len() != len(w.batch) {
			t.Fatalf("%d bytes, %v", b.Len(), err)
		}
		if gets, bytes := w.store.counts(); gets != 2 || bytes > testChunk+8<<10 {
			t.Errorf("it took %d requests for %d bytes", gets, bytes)
		}
		if took := time.Since(began); took > 60*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// A sequential reader gets four fifths of what an ideal client gets. That client knows in advance
// what to request, and has as many requests of the largest size under way as read-ahead may have.
func TestSequentialReadIsAsFastAsThePlainClient(t *testing.T) {
	segments := 32
	if raceDetector {
		segments = 6 // the race detector is too slow for a comparison
	}
	inBubble(t, 1, segments, 64, func(t *testing.T, w *modelled) {
		t.Helper()
		began := time.Now()
		n, err := w.replay(t.Context(), 0, 0, w.end(), 1<<20, 0)
		took := time.Since(began)
		if err != nil || n != w.bytes() {
			t.Fatalf("%d of %d bytes, %v", n, w.bytes(), err)
		}
		request := w.store.firstByte + time.Duration(maxRequestBytes)*time.Second/time.Duration(w.store.rate)
		plain := request * time.Duration(w.bytes()) / maxRequestBytes / 8
		gets, bytes := w.store.counts()
		t.Logf("%d MiB in %v, a plain client in %v; %d requests for %d chunks, %d bytes more than there are",
			n>>20, took, plain, gets, w.end(), bytes-n)
		if plain < took*8/10 && !raceDetector {
			t.Errorf("it took %v, a plain client takes %v", took, plain)
		}
		if most := w.bytes()/maxRequestBytes*3/2 + int64(2*segments); gets > most {
			t.Errorf("%d requests, want at most %d", gets, most)
		}
		if bytes > n*101/100 {
			t.Errorf("%d bytes were read to deliver %d", bytes, n)
		}
	})
}

// Twelve readers at once at the default settings share the room, and nothing is read twice.
func TestReplayOfManyPartitionsReadsNothingTwice(t *testing.T) {
	const partitions = 12
	inBubble(t, partitions, 4, 32, func(t *testing.T, w *modelled) {
		t.Helper()
		began := time.Now()
		var group sync.WaitGroup
		for n := range partitions {
			group.Go(func() {
				if got, err := w.replay(t.Context(), n, 0, w.end(), 300<<10+n*100<<10, 0); err != nil || got != w.bytes() {
					t.Errorf("partition %d: %d bytes, %v", n, got, err)
				}
			})
		}
		group.Wait()
		gets, bytes := w.store.counts()
		t.Logf("%d MiB in %v; %d requests", partitions*w.bytes()>>20, time.Since(began), gets)
		if bytes > partitions*w.bytes()*105/100 {
			t.Errorf("%d bytes were read to deliver %d", bytes, partitions*w.bytes())
		}
		if most := partitions * (w.end() + 4); gets > most {
			t.Errorf("%d requests, want at most %d", gets, most)
		}
	})
}

// What another group reads again and again stays in memory during the replay of a history many
// times as large as the cache.
func TestReplayLeavesWhatIsReadAgain(t *testing.T) {
	inBubble(t, 9, 4, 16, func(t *testing.T, w *modelled) {
		t.Helper()
		again := func() {
			t.Helper()
			if _, err := w.replay(t.Context(), 8, 0, w.end(), 1<<20, 0); err != nil {
				t.Fatal(err)
			}
		}
		again()
		again()
		var group sync.WaitGroup
		for n := range 8 {
			group.Go(func() { _, _ = w.replay(t.Context(), n, 0, w.end(), 1<<20, 0) })
		}
		for range 20 {
			time.Sleep(20 * time.Millisecond)
			again()
		}
		group.Wait()
		w.store.counts()
		again()
		if gets, bytes := w.store.counts(); bytes > 2*testChunk {
			t.Errorf("%d requests for %d bytes after the replay", gets, bytes)
		}
	}, func(o *Options) { o.CacheBytes = 48 << 20 })
}

// The cache does not read far ahead of a slow reader.
func TestReadAheadFollowsTheReader(t *testing.T) {
	inBubble(t, 1, 4, 64, func(t *testing.T, w *modelled) {
		t.Helper()
		read := func(from, to int64, perByte time.Duration) (most int64) {
			t.Helper()
			for ; from < to; from++ {
				if _, err := w.replay(t.Context(), 0, from, from+1, testChunk, perByte); err != nil {
					t.Fatal(err)
				}
				w.m.chunks.mu.Lock()
				most = max(most, w.m.chunks.mu.shelf.sizes[unread]+w.m.chunks.mu.coming)
				w.m.chunks.mu.Unlock()
			}
			return most
		}
		if most := read(0, 60, 400*time.Nanosecond); most > 6<<20 { // 2.5 MB/s
			t.Errorf("%d bytes are read ahead of a slow reader", most)
		}
		if most := read(60, 200, 0); most < 16<<20 {
			t.Errorf("%d bytes are read ahead of a fast one", most)
		}
	})
}

// The limits of a broker and of a client are kept in the long run.
func TestReadsKeepToTheirRate(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"of the broker": func(o *Options) { o.FetchRate = 10 << 20 },
		"of a client":   func(o *Options) { o.ClientFetchRate = 10 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 2, 2, 64, func(t *testing.T, w *modelled) {
				t.Helper()
				began := time.Now()
				ctx := ReadBy(t.Context(), Reader{Client: "slow"})
				if _, err := w.replay(ctx, 0, 0, w.end(), 1<<20, 0); err != nil {
					t.Fatal(err)
				}
				want := time.Duration(w.bytes()) * time.Second / (10 << 20)
				if took := time.Since(began); took < want*9/10 || took > want*11/10 {
					t.Errorf("it took %v, want %v", took, want)
				}
			}, change)
		})
	}
}

// One client's replay of many partitions does not delay another client's first record for long.
func TestClientsTakeTurns(t *testing.T) {
	inBubble(t, 40, 1, 64, func(t *testing.T, w *modelled) {
		t.Helper()
		ctx, cancel := context.WithCancel(ReadBy(t.Context(), Reader{Client: "replay"}))
		var group sync.WaitGroup
		for n := range 39 {
			group.Go(func() { _, _ = w.replay(ctx, n, 0, w.end(), 1<<20, 0) })
		}
		time.Sleep(300 * time.Millisecond)
		began := time.Now()
		if _, err := w.m.Read(ReadBy(t.Context(), Reader{Client: "other"}), w.tp(39), 5, 1<<20, math.MaxInt64); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 250*time.Millisecond {
			t.Errorf("the other client waited %v", took)
		}
		cancel()
		group.Wait()
	})
}

// A read that must not wait fails at once, and starts nothing.
func TestCachedReadDoesNotWait(t *testing.T) {
	inBubble(t, 1, 1, 8, func(t *testing.T, w *modelled) {
		t.Helper()
		ctx := ReadBy(t.Context(), Reader{Cached: true})
		wait := func(offset int64) func() {
			return func() {
				if _, err := w.m.Read(t.Context(), w.tp(0), offset, 1, math.MaxInt64); err != nil {
					t.Fatal(err)
				}
				w.store.counts()
			}
		}
		for _, step := range []struct {
			before func()
			there  bool
		}{{func() {}, false}, {wait(7), false}, {wait(3), true}} {
			step.before()
			b, err := w.m.Read(ctx, w.tp(0), 3, 1, math.MaxInt64)
			if gets, _ := w.store.counts(); gets != 0 || errors.Is(err, ErrNotCached) == step.there || step.there && b.Len() != len(w.batch) {
				t.Errorf("%d requests, %d bytes, %v", gets, b.Len(), err)
			}
		}
	})
}
