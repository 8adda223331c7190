package storage

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// Memory is reserved before records are decompressed. An append that waits for memory delays
// neither other operations of its log nor other logs.
func TestDecodingWaitsForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, vfs.NewMem(), func(c *Config) { c.CleanupCompact = true })
		l := k.log()
		k.m.env.decoding.acquire(decodeBudget)
		var waiting sync.WaitGroup
		waiting.Go(func() {
			mustAppend(t, l, batchOf(1, 10, epoch0.UnixMilli(), func(b *record.Builder) { b.Codec = record.CodecLZ4 }))
		})
		synctest.Wait()
		other, err := k.m.Create("t", 1, testID)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, other, batchOf(1, 10, epoch0.UnixMilli()))
		if _, err = l.EnforceRetention(epoch0); err != nil || l.EndOffset() != 0 {
			t.Errorf("%d records are in the log: %v", l.EndOffset(), err)
		}
		k.m.env.decoding.release(decodeBudget)
		waiting.Wait()
		if end := l.EndOffset(); end != 1 {
			t.Errorf("%d records are in the log at the end", end)
		}
	})
}

func TestDecodedReservesWhatItTakes(t *testing.T) {
	e := newKit(t, vfs.NewMem(), nil).m.env
	// It decompresses to a hundred times its size.
	b := batchOf(1, 1<<20, epoch0.UnixMilli(), func(b *record.Builder) { b.Codec = record.CodecZstd })
	err := e.decoded(b, record.MaxDecompressed, func(payload []byte) error {
		if e.decoding.left() > decodeBudget-int64(len(payload)) {
			t.Error("its memory is not reserved")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if e.decoding.left() != decodeBudget {
		t.Fatal("memory was not given back")
	}
	if err = e.decoded(b, 1<<19, func([]byte) error { return nil }); !errors.Is(err, ErrRecordTooLarge) {
		t.Fatal(err)
	}
}

// A large request is served before small ones that arrived later, so it cannot starve.
func TestBudgetServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := byteBudget{free: 10}
		b.acquire(8)
		var order []int64
		var mu sync.Mutex
		var waiting sync.WaitGroup
		for _, n := range []int64{9, 2} {
			waiting.Go(func() {
				b.acquire(n)
				mu.Lock()
				order = append(order, n)
				mu.Unlock()
				b.release(n)
			})
			synctest.Wait()
		}
		b.release(8)
		waiting.Wait()
		if !slices.Equal(order, []int64{9, 2}) || b.left() != 10 {
			t.Fatalf("served %v, %d bytes are left", order, b.left())
		}
	})
}
