package storage

import (
	"log/slog"
	"testing"
	"time"

	"github.com/varvelog/varve/record"
)

func benchLog(b *testing.B) *Log {
	b.Helper()
	cfg := DefaultConfig()
	cfg.SegmentBytes = 256 << 20
	cfg.RetentionBytes = 512 << 20
	cfg.FileDeleteDelayMs = 0
	m, err := OpenManager(b.Context(), Options{
		Dirs: []string{b.TempDir()}, Logger: slog.New(slog.DiscardHandler), Config: func(string) Config { return cfg },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if closeErr := m.Close(); closeErr != nil {
			b.Error(closeErr)
		}
	})
	l, err := m.Create("bench", 0, testID)
	if err != nil {
		b.Fatal(err)
	}
	return l
}

func benchBatch(records, size int) record.Batch {
	return batchOf(records, size, time.Now().UnixMilli())
}

func benchmarkAppend(b *testing.B, batch record.Batch) {
	b.Helper()
	l := benchLog(b)
	b.SetBytes(int64(len(batch)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		batch.SetBaseOffset(0)
		if _, err := l.Append(batch, 1); err != nil {
			b.Fatal(err)
		}
		if i%4096 == 0 { // keep the disk from filling
			commit(l)
			if _, err := l.EnforceRetention(time.Now()); err != nil {
				b.Fatal(err)
			}
			l.env.emptyTrash(time.Now())
		}
	}
}

func BenchmarkAppend250x1KiB(b *testing.B) { benchmarkAppend(b, benchBatch(250, 1024)) }
func BenchmarkAppend16KiB(b *testing.B)    { benchmarkAppend(b, benchBatch(16, 1000)) }
func BenchmarkAppend1KiB(b *testing.B)     { benchmarkAppend(b, benchBatch(1, 1000)) }

func BenchmarkRead1MiB(b *testing.B) {
	l := benchLog(b)
	batch := benchBatch(16, 1000)
	for l.Size() < 64<<20 {
		batch.SetBaseOffset(0)
		mustAppend(b, l, batch)
	}
	end := l.EndOffset()
	buf := make([]byte, 0, 2<<20)
	b.Run("copied", func(b *testing.B) {
		b.SetBytes(1 << 20)
		b.ReportAllocs()
		for i := int64(0); b.Loop(); i++ {
			s, err := l.Read(i*1009%(end-2000), 1<<20, end, true)
			if err != nil {
				b.Fatal(err)
			}
			if buf, err = s.AppendTo(buf[:0]); err != nil {
				b.Fatal(err)
			}
			s.Release()
		}
	})
	b.Run("located", func(b *testing.B) {
		b.ReportAllocs()
		for i := int64(0); b.Loop(); i++ {
			s, err := l.Read(i*1009%(end-2000), 1<<20, end, true)
			if err != nil {
				b.Fatal(err)
			}
			s.Release()
		}
	})
	b.Run("tail", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s, err := l.Read(end-16, 1<<20, end, true)
			if err != nil {
				b.Fatal(err)
			}
			s.Release()
		}
	})
	b.Run("belowLimit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s, err := l.Read(end-3200, 1<<20, end-1600, true)
			if err != nil {
				b.Fatal(err)
			}
			s.Release()
		}
	})
}
