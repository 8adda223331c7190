package storage

import (
	"log/slog"
	"testing"
	"time"

	"github.com/varvelog/varve/vfs"
)

// newScale is a manager on the real file system with n logs of a few batches.
func newScale(tb testing.TB, n int32) (*Manager, Options) {
	tb.Helper()
	o := Options{Dirs: []string{tb.TempDir()}, Logger: slog.New(slog.DiscardHandler), MaxOpenFiles: 200}
	m, err := OpenManager(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	for p := range n {
		if _, err = m.Create("t", p, testID); err != nil {
			tb.Fatal(err)
		}
	}
	return m, o
}

// TestAThousandPartitions has a bound that is generous for a busy machine; see
// the benchmarks for what it really takes.
func TestAThousandPartitions(t *testing.T) {
	began := time.Now()
	m, o := newScale(t, 1000)
	for l := range m.Logs() {
		fill(t, l, 1)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("creating and writing took %v", took)
	}
	if n := m.env.files.count(); n > 200 {
		t.Errorf("%d files are open", n)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	m, err := OpenManager(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("starting took %v", took)
	}
	for l := range m.Logs() {
		if l.EndOffset() != 1 {
			t.Fatalf("%s ends at %d", l.key, l.EndOffset())
		}
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkCreate1000(b *testing.B) {
	for b.Loop() {
		m, _ := newScale(b, 1000)
		if err := m.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen1000 starts with a thousand logs that have a batch each.
func BenchmarkOpen1000(b *testing.B) {
	for _, clean := range []bool{true, false} {
		name := map[bool]string{true: "clean", false: "afterCrash"}[clean]
		b.Run(name, func(b *testing.B) {
			m, o := newScale(b, 1000)
			for l := range m.Logs() {
				fill(b, l, 1)
			}
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				if err := m.Close(); err != nil {
					b.Fatal(err)
				}
				if !clean {
					if err := (vfs.OS{}).Remove(o.Dirs[0] + "/" + cleanFile); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				var err error
				if m, err = OpenManager(b.Context(), o); err != nil {
					b.Fatal(err)
				}
			}
			if err := m.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
