package storage

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkRecoverSegment scans a segment of 64 MiB in full, as after a crash before its first
// flush.
func BenchmarkRecoverSegment(b *testing.B) {
	for _, bc := range []struct {
		name    string
		records int
	}{{"batches of 1 KiB", 1}, {"batches of 16 KiB", 16}, {"batches of 256 KiB", 256}} {
		b.Run(bc.name, func(b *testing.B) {
			o := Options{Dirs: []string{b.TempDir()}, Logger: slog.New(slog.DiscardHandler)}
			m, err := OpenManager(b.Context(), o)
			if err != nil {
				b.Fatal(err)
			}
			l, err := m.Create("t", 0, testID)
			if err != nil {
				b.Fatal(err)
			}
			batch := benchBatch(bc.records, 960)
			for l.Size() < 64<<20 {
				batch.SetBaseOffset(0)
				mustAppend(b, l, batch)
			}
			end := l.EndOffset()
			b.SetBytes(l.Size())
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				if err = m.Close(); err != nil {
					b.Fatal(err)
				}
				for _, name := range []string{cleanFile, recoveryFile} {
					if err = os.Remove(filepath.Join(o.Dirs[0], name)); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				if m, err = OpenManager(b.Context(), o); err != nil {
					b.Fatal(err)
				}
			}
			if l, _ = m.Log("t", 0); l.EndOffset() != end {
				b.Fatalf("end %d, want %d", l.EndOffset(), end)
			}
			if err = m.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkIndexLookup searches indexes with as many entries as a segment of 1 GiB has, in the file
// and among the newest entries in memory.
func BenchmarkIndexLookup(b *testing.B) {
	const entries, every = 1 << 18, 100
	s := benchLog(b).list().active()
	for i := range int64(entries) {
		s.index.append(i*every, i*4096)
		if err := s.times.maybeAppend(TimestampOffset{Timestamp: i * 10, Offset: i * every}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.persistIndexes(); err != nil {
		b.Fatal(err)
	}
	offset := func(b *testing.B, target func(i int64) int64) {
		b.Helper()
		b.ReportAllocs()
		for i := int64(0); b.Loop(); i++ {
			o := target(i)
			if pos, err := s.index.lookup(o); err != nil || pos != o/every*4096 {
				b.Fatalf("offset %d is at %d, %v", o, pos, err)
			}
		}
	}
	b.Run("offset in memory", func(b *testing.B) {
		offset(b, func(i int64) int64 { return entries*every - 1 - i%(10*every) })
	})
	b.Run("offset in the file", func(b *testing.B) {
		offset(b, func(i int64) int64 { return i * 1_000_003 % ((entries - 1000) * every) })
	})
	b.Run("time in the file", func(b *testing.B) {
		b.ReportAllocs()
		for i := int64(0); b.Loop(); i++ {
			ts := i * 100_003 % ((entries - 1000) * 10)
			if e, ok, err := s.times.lookup(ts); err != nil || !ok || e.Offset != ts/10*every {
				b.Fatalf("time %d is at %+v, %v", ts, e, err)
			}
		}
	})
	if err := s.index.cut(0); err != nil { // the log has none of these batches
		b.Fatal(err)
	}
	if err := s.times.cut(0); err != nil {
		b.Fatal(err)
	}
}
