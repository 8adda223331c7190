package storage

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// Memory is reserved before records are decompressed. Without memory an append
// waits, and holds up no append that needs none.
func TestDecodingWaitsForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t, vfs.NewMem(), func(c *Config) { c.CleanupCompact = true })
		l := k.log()
		if err := k.m.env.decoding.Acquire(t.Context(), decodeBudget); err != nil {
			t.Fatal(err)
		}
		var waiting sync.WaitGroup
		waiting.Go(func() {
			mustAppend(t, l, batchOf(1, 10, epoch0.UnixMilli(), func(b *record.Builder) { b.Codec = record.CodecLZ4 }))
		})
		synctest.Wait()
		mustAppend(t, l, batchOf(1, 10, epoch0.UnixMilli()))
		if end := l.EndOffset(); end != 1 {
			t.Errorf("%d records are in the log", end)
		}
		k.m.env.decoding.Release(decodeBudget)
		waiting.Wait()
		if end := l.EndOffset(); end != 2 {
			t.Errorf("%d records are in the log at the end", end)
		}
	})
}

func TestDecodedReservesWhatItTakes(t *testing.T) {
	e := newKit(t, vfs.NewMem(), nil).m.env
	b := batchOf(1, 1<<20, epoch0.UnixMilli(), func(b *record.Builder) { b.Codec = record.CodecZstd }) // a hundred times as much as it is
	err := e.decoded(b, record.MaxDecompressed, func(payload []byte) error {
		if e.decoding.TryAcquire(decodeBudget - int64(len(payload)) + 1) {
			t.Error("its memory is not reserved")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if !e.decoding.TryAcquire(decodeBudget) {
		t.Fatal("memory was not given back")
	}
	e.decoding.Release(decodeBudget)
	if err = e.decoded(b, 1<<19, func([]byte) error { return nil }); !errors.Is(err, ErrRecordTooLarge) {
		t.Fatal(err)
	}
}
