package tiering

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

// The real log and the real manager: records are deleted locally as soon as they may be, and the
// two tiers together still return all of them.
func TestTwoTiersAreOneLog(t *testing.T) { synctest.Test(t, twoTiersAreOneLog) }

func twoTiersAreOneLog(t *testing.T) {
	w := newWorld(t)
	w.now.t = time.UnixMilli(1_700_000_000_000)
	w.cfg.set(func(c *storageConfig) {
		c.SegmentBytes, c.IndexIntervalBytes, c.LocalRetentionBytes, c.FileDeleteDelayMs = 20_000, 500, 30_000, 0
	})
	log := w.realLog()
	var err error
	m := running(t, w, func(o *Options) { o.Now = w.now.now })
	tp := w.tp
	m.Attach(t.Context(), Partition{TopicID: w.id, TopicPartition: tp, LeaderEpoch: 3, Log: log, Config: w.cfg.get})

	var all []record.Batch
	for i := range 600 {
		all = append(all, appendBatch(t, log, i))
		if i%50 == 49 {
			if err = log.Flush(t.Context(), log.EndOffset()); err != nil {
				t.Fatal(err)
			}
			m.Kick(tp)
			if _, err = log.EnforceRetention(w.now.now()); err != nil {
				t.Fatal(err)
			}
			checkTiers(t, m, log, all)
		}
	}
	m.Kick(tp)
	synctest.Wait()
	if _, err = log.EnforceRetention(w.now.now()); err != nil {
		t.Fatal(err)
	}
	if log.Size() > 60_000 {
		t.Fatalf("%d bytes are left in the local log", log.Size())
	}
	checkTiers(t, m, log, all)
	if log.StartOffset() != 0 || log.LocalStartOffset() == 0 {
		t.Errorf("log starts at %d, locally at %d", log.StartOffset(), log.LocalStartOffset())
	}
	for i := range 40 {
		ts := int64(1_700_000_000_000 - 700_000 + i*9000)
		want, wantOK := (&fakeLog{batches: all}).firstAt(t, ts, 0)
		got, ok, lookErr := m.OffsetForTimestamp(t.Context(), tp, ts, math.MaxInt64)
		if !ok && lookErr == nil {
			got, ok, lookErr = log.OffsetForTimestamp(ts)
		}
		if lookErr != nil || ok != wantOK || got != want {
			t.Fatalf("time %d is at %+v, %t, %v; want %+v, %t", ts, got, ok, lookErr, want, wantOK)
		}
	}
}

// realLog returns a log of package storage.
func (w *world) realLog() *storage.Log {
	w.t.Helper()
	logs, err := storage.OpenManager(w.t.Context(), storage.Options{
		Logger: slog.New(slog.DiscardHandler), FS: vfs.NewMem(), Dirs: []string{"/data"}, ClusterID: "cluster", NodeID: 1, Now: w.now.now,
		Config: func(string) storage.Config { return w.cfg.get() },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if closeErr := logs.Close(); closeErr != nil {
			w.t.Error(closeErr)
		}
	})
	log, err := logs.Create("orders", 7, w.id)
	if err != nil {
		w.t.Fatal(err)
	}
	return log
}

func appendBatch(t *testing.T, log *storage.Log, i int) record.Batch {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(i), 9))
	b := record.Builder{Codec: record.Codec(i % 5)}
	for r := range 1 + rng.IntN(6) {
		value := make([]byte, rng.IntN(400))
		b.Append(1_700_000_000_000-600_000+int64(i)*1000+int64(r)-rng.Int64N(5000), nil, value)
	}
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = log.Append(batch, 3); err != nil {
		t.Fatal(err)
	}
	log.SetHighWatermark(log.EndOffset())
	return batch // with its offset and epoch
}

// checkTiers reads at random offsets wherever they are, and compares where both tiers have them.
func checkTiers(t *testing.T, m *Manager, log *storage.Log, all []record.Batch) {
	t.Helper()
	ctx := context.Background()
	tp := metadata.TopicPartition{Topic: log.Topic(), Partition: log.Partition()}
	for range 60 {
		i := rand.IntN(len(all))
		offset := all[i].BaseOffset()
		want := bytes.Join(byteSlices(all[i:]), nil)
		cold, _, err := m.read(ctx, tp, offset, 3000, log.HighWatermark())
		if err != nil && !errors.Is(err, ErrOffsetOutOfRange) {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(want, cold) {
			t.Fatalf("the remote tier has other bytes at offset %d", offset)
		}
		slice, err := log.Read(offset, 3000, log.HighWatermark(), true)
		if errors.Is(err, storage.ErrOffsetOutOfRange) {
			if len(cold) == 0 {
				t.Fatalf("offset %d is in neither tier", offset)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		hot, err := slice.AppendTo(nil)
		slice.Release()
		if err != nil || !bytes.HasPrefix(want, hot) {
			t.Fatalf("the local tier has other bytes at offset %d: %v", offset, err)
		}
	}
}

func byteSlices(batches []record.Batch) [][]byte {
	out := make([][]byte, len(batches))
	for i, b := range batches {
		out[i] = b
	}
	return out
}
