package storage

import (
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/vfs"
)

// lagKit has a log whose records may wait for an hour.
func lagKit(t *testing.T) *kit {
	t.Helper()
	return newKit(t, vfs.NewMem(), func(c *Config) {
		c.RemoteStorageEnable, c.RetentionMs, c.MaxTierLagMs = true, -1, 3600_000
	})
}

func (k *kit) closeLate() {
	k.t.Helper()
	k.m.closeLate(k.t.Context(), k.m.dirs[0])
}

// TestSegmentIsClosedWhenItsOldestRecordHasWaited: a steady trickle of records never fills a
// segment, and its first record must not wait for that.
func TestSegmentIsClosedWhenItsOldestRecordHasWaited(t *testing.T) {
	k := lagKit(t)
	l := k.log()
	for range 4 {
		fill(t, l, 1)
		commit(l)
		k.closeLate()
		k.clock.advance(20 * time.Minute)
	}
	if got := bases(l); !slices.Equal(got, []int64{0, 4}) && !slices.Equal(got, []int64{0}) {
		t.Fatalf("segments %v", got)
	}
	k.closeLate()
	if got := bases(l); !slices.Equal(got, []int64{0, 4}) {
		t.Fatalf("segments %v after 80 minutes", got)
	}
	k.clock.advance(24 * time.Hour)
	k.closeLate() // the active one is empty
	if got := bases(l); !slices.Equal(got, []int64{0, 4}) {
		t.Fatalf("segments %v", got)
	}
}

// TestRecordsWaitOverARestart: a restart must not restart the hour, also if more records are
// appended.
func TestRecordsWaitOverARestart(t *testing.T) {
	k := lagKit(t)
	fill(t, k.log(), 1)
	commit(k.log())
	k.clock.advance(50 * time.Minute)
	k.reopen()
	fill(t, k.log(), 1)
	commit(k.log())
	k.closeLate()
	if got := bases(k.log()); !slices.Equal(got, []int64{0}) {
		t.Fatalf("segments %v after 50 minutes", got)
	}
	if since := k.log().WaitsSince(0); !since.Equal(epoch0) {
		t.Fatalf("a record has waited since %v, want %v", since, epoch0)
	}
	k.clock.advance(11 * time.Minute)
	k.closeLate()
	if got := bases(k.log()); !slices.Equal(got, []int64{0, 2}) {
		t.Fatalf("segments %v after an hour", got)
	}
}

// TestUndecidedRecordsCloseNoSegment: uncommitted records cannot be uploaded, so closing their
// segment again and again would not help.
func TestUndecidedRecordsCloseNoSegment(t *testing.T) {
	k := lagKit(t)
	l := k.log()
	fill(t, l, 2)
	k.clock.advance(2 * time.Hour)
	k.closeLate()
	if got := bases(l); !slices.Equal(got, []int64{0}) {
		t.Fatalf("segments %v", got)
	}
	if since := l.WaitsSince(0); !since.IsZero() {
		t.Fatalf("what is not committed waits since %v", since)
	}
	l.SetHighWatermark(1)
	for range 3 { // the rest of the segment closes it, once
		k.closeLate()
		k.clock.advance(2 * time.Hour)
	}
	if got := bases(l); !slices.Equal(got, []int64{0, 2}) {
		t.Fatalf("segments %v", got)
	}
}

// TestWaitsSince: the time is that of the first segment that is not wholly in the object store.
func TestWaitsSince(t *testing.T) {
	k := lagKit(t)
	l := k.log()
	for range 3 {
		fill(t, l, 2)
		commit(l)
		if err := l.Roll(); err != nil {
			t.Fatal(err)
		}
		k.clock.advance(time.Minute)
	}
	for offset, want := range map[int64]time.Time{
		0: epoch0, 1: epoch0, 2: epoch0.Add(time.Minute), 5: epoch0.Add(2 * time.Minute), 6: {},
	} {
		if got := l.WaitsSince(offset); !got.Equal(want) {
			t.Errorf("from offset %d on records wait since %v, want %v", offset, got, want)
		}
	}
	if err := l.Flush(t.Context(), l.EndOffset()); err != nil {
		t.Fatal(err)
	}
	segments := l.ClosedSegments(0)
	if len(segments) != 3 || !segments[1].Since().Equal(epoch0.Add(time.Minute)) {
		t.Fatalf("closed are %v", segments)
	}
	if ms, err := segments[0].NewestMs(); err != nil || ms != epoch0.UnixMilli()+100 {
		t.Errorf("the newest record is of %d, %v", ms, err)
	}
}

// TestRemoteCopyLag: the delays of KIP-1241 default to the local retention.
func TestRemoteCopyLag(t *testing.T) {
	for name, c := range map[string]struct {
		change    func(*Config)
		ms, bytes int64
	}{
		"default":             {func(*Config) {}, 0, -1},
		"as the retention":    {func(c *Config) { c.RemoteCopyLagMs, c.RetentionMs, c.RetentionBytes = -1, 7, 8 }, 7, 8},
		"as the local one":    {func(c *Config) { c.RemoteCopyLagMs, c.LocalRetentionMs, c.LocalRetentionBytes = -1, 5, 6 }, 5, 6},
		"for ever":            {func(c *Config) { c.RemoteCopyLagMs, c.RetentionMs = -1, -1 }, -1, -1},
		"what the topic says": {func(c *Config) { c.RemoteCopyLagMs, c.RemoteCopyLagBytes = 3, 4 }, 3, 4},
	} {
		cfg := DefaultConfig()
		cfg.RemoteStorageEnable = true
		c.change(&cfg)
		if ms, bytes := cfg.RemoteCopyLag(); ms != c.ms || bytes != c.bytes {
			t.Errorf("%s: %d ms and %d bytes, want %d and %d", name, ms, bytes, c.ms, c.bytes)
		}
	}
}
