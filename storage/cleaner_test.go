package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// newPool returns a manager with one log per argument. Partition i has as many dirty segments as
// the i-th argument says.
func newPool(t *testing.T, change func(*Config), dirty ...int) *kit {
	t.Helper()
	k := newCompactKit(t, vfs.NewMem(), func(c *Config) {
		c.SegmentBytes = int64(len(keyed(0, []string{"a=1"})))
		if change != nil {
			change(c)
		}
	})
	for partition, n := range dirty {
		l, err := k.m.Create("t", int32(partition), testID)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			if _, err = l.AppendAsFollower(atOffset(keyed(k.clock.Now().UnixMilli(), []string{"a=1"}), int64(i))); err != nil {
				t.Fatal(err)
			}
		}
		l.cleaning.upTo.Store(int64(9 - n))
		commit(l)
		if err = l.flushClosed(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	k.m.cleaner.busy = map[*Log]bool{}
	return k
}

func atOffset(b record.Batch, offset int64) record.Batch {
	b.SetBaseOffset(offset)
	return b
}

// The cleaner picks the dirtiest log, and a log past its max.compaction.lag.ms before all others.
func TestTheFilthiestLogIsCompactedFirst(t *testing.T) {
	k := newPool(t, func(c *Config) { c.MaxCompactionLagMs = 60_000 }, 2, 6, 4, 0)
	c := &k.m.cleaner
	var order []int32
	for l := c.pick(); l != nil; l = c.pick() {
		order = append(order, l.Partition())
		c.busy[l] = true
	}
	if !slices.Equal(order, []int32{1, 2, 0}) {
		t.Fatalf("order %v", order)
	}
	// A log that has exceeded its limit by more comes first.
	late, err := k.m.Create("late", 0, testID)
	if err != nil {
		t.Fatal(err)
	}
	for i := range int64(2) {
		if _, err = late.AppendAsFollower(atOffset(keyed(epoch0.Add(-time.Hour).UnixMilli(), []string{"a=1"}), i)); err != nil {
			t.Fatal(err)
		}
	}
	commit(late)
	if err = late.flushClosed(t.Context()); err != nil {
		t.Fatal(err)
	}
	clear(c.busy)
	if l := c.pick(); l != late {
		t.Fatalf("picked %s", l.key)
	}
}

func TestManagerCompacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newPool(t, nil, 9, 9, 9, 9)
		k.m.options.Cleaner = func() CleanerConfig {
			c := DefaultCleanerConfig()
			c.Threads = 2
			return c
		}
		k.m.cleaner.config = k.m.options.Cleaner
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.m.Run(ctx) }()
		synctest.Wait()
		for l := range k.m.Logs() {
			if l.cleaning.upTo.Load() != 9 || !slices.Equal(dump(t, l)[8:], []string{"8:a=1", "9:a=1"}) {
				t.Errorf("%s is clean up to %d: %q", l.key, l.cleaning.upTo.Load(), dump(t, l))
			}
		}
		if got := string(content(t, k.fs, "/data/"+cleanerFile)); got != "0\n4\nt 0 9\nt 1 9\nt 2 9\nt 3 9\n" {
			t.Errorf("%q", got)
		}
		// A log that becomes dirty later is found after the pause.
		l := k.log()
		if _, err := l.AppendAsFollower(atOffset(keyed(0, []string{"a=2"}), 10)); err != nil {
			t.Error(err)
		}
		commit(l)
		timer := time.NewTimer(time.Minute)
		<-timer.C
		synctest.Wait()
		if l.cleaning.upTo.Load() != 10 {
			t.Errorf("clean up to %d", l.cleaning.upTo.Load())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestFullDiskPausesTheLogOnly(t *testing.T) {
	fsys := vfs.NewFaulty(vfs.NewMem())
	k := newCompactKit(t, fsys, nil)
	k.put("a=1", "a=2")
	k.makeCleanable()
	var logged bytes.Buffer
	k.m.env.logger = slog.New(slog.NewTextHandler(&logged, nil))
	fsys.Inject(vfs.Fault{Op: vfs.OpWrite, Name: suffixCleaned, Err: syscall.ENOSPC, Short: 10})
	c := &k.m.cleaner
	c.clean(t.Context(), k.log(), k.share())
	if k.log().uncleanable() || c.pick() != nil || strings.Count(logged.String(), "level=WARN") != 1 {
		t.Fatalf("picked again at once, or given up: %s", &logged)
	}
	fsys.Heal()
	k.clock.advance(diskFullPause)
	if c.pick() != k.log() {
		t.Fatal("not picked when the pause is over")
	}
	c.clean(t.Context(), k.log(), k.share())
	k.want("1:a=2")
}

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p pacer
		took := func(n int) time.Duration {
			began := time.Now()
			for range n {
				if err := p.wait(t.Context(), 100); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(began)
		}
		for _, unlimited := range []float64{0, math.MaxFloat64} {
			p.setRate(unlimited)
			if d := took(1000); d > 0 {
				t.Errorf("rate %v: %v", unlimited, d)
			}
		}
		p.setRate(1000)
		if d := took(100); d < 9900*time.Millisecond || d > 10*time.Second {
			t.Errorf("10000 bytes at 1000 a second took %v", d)
		}
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(stop) })
		if err := p.wait(ctx, 1<<30); !errors.Is(err, stop) {
			t.Error(err)
		}
	})
}

// BenchmarkCompaction compacts a log in which two thirds of the records are superseded.
func BenchmarkCompaction(b *testing.B) {
	for _, codec := range []record.Codec{record.CodecNone, record.CodecLZ4} {
		b.Run(codec.String(), func(b *testing.B) {
			const records, size = 100, 200
			value := bytes.Repeat([]byte("0123456789"), size/10)
			var dirty int64
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				k := newCompactKit(b, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 4 << 20; c.IndexIntervalBytes = 4096 })
				for i := range 500 {
					builder := record.Builder{Codec: codec}
					for r := range records {
						builder.Append(epoch0.UnixMilli(), fmt.Appendf(nil, "key %d", (i*records+r*7)%(500*records/3)), value)
					}
					batch, err := builder.Build()
					if err != nil {
						b.Fatal(err)
					}
					k.follow(batch)
				}
				k.makeCleanable()
				dirty = k.log().Size()
				share := k.share()
				share.mapBytes, share.bufferBytes = 64<<20, 256<<10
				b.StartTimer()
				k.cleanOnce(share)
				b.StopTimer()
				_ = k.m.Close() // its files are in memory
				b.StartTimer()
			}
			b.SetBytes(dirty)
		})
	}
}
