package storage

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/varvelog/varve/record"
)

// BenchmarkCommit appends one batch of 1 KiB to each of several partitions and waits until all are
// on disk. One op covers all of them, as when as many producers with one request in flight write to
// a durable topic.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("partitions=%d", n), func(b *testing.B) { benchmarkCommit(b, n) })
	}
}

func benchmarkCommit(b *testing.B, n int) {
	b.Helper()
	m, err := OpenManager(b.Context(), Options{Dirs: []string{b.TempDir()}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		if runErr := m.Run(ctx); runErr != nil {
			b.Error(runErr)
		}
	})
	b.Cleanup(func() {
		cancel()
		running.Wait()
		if closeErr := m.Close(); closeErr != nil {
			b.Error(closeErr)
		}
	})
	logs, batches := make([]*Log, n), make([]record.Batch, n)
	flushed := make(chan error, 2*n)
	for i := range logs {
		if logs[i], err = m.Create("bench", int32(i), testID); err != nil {
			b.Fatal(err)
		}
		logs[i].OnFlush(func(_ int64, err error) { flushed <- err })
		batches[i] = benchBatch(1, 1000)
	}
	commitAll := func() {
		for i, l := range logs {
			batches[i].SetBaseOffset(0)
			mustAppend(b, l, batches[i])
			l.FlushSoon()
		}
		for range logs {
			if err := <-flushed; err != nil {
				b.Fatal(err)
			}
		}
	}
	commitAll() // creates the files
	b.ReportAllocs()
	for b.Loop() {
		commitAll()
	}
	b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "commits/s")
}
