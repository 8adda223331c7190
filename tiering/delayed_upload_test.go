package tiering

import (
	"testing"
	"time"
)

// TestDelayedUpload: a closed segment is uploaded once it is old enough or far enough behind, as in
// Kafka (KIP-1241), or once one of its records may not wait any longer.
func TestDelayedUpload(t *testing.T) {
	const never = -1
	now := time.Now()
	for name, q := range map[string]struct {
		change func(c *storageConfig, bytes int64) // of one segment
		// want is how many of four segments are uploaded, closed 3, 2, 1 and 0 hours ago.
		want int
	}{
		"at once":                        {func(*storageConfig, int64) {}, 4},
		"by the local retention":         {func(c *storageConfig, _ int64) { c.RemoteCopyLagMs, c.LocalRetentionMs = -1, 2*3600_000 }, 2},
		"the local retention has no end": {func(c *storageConfig, _ int64) { c.RemoteCopyLagMs = -1 }, 0},
		"by age":                         {func(c *storageConfig, _ int64) { c.RemoteCopyLagMs = 2 * 3600_000 }, 2},
		"by size":                        {func(c *storageConfig, bytes int64) { c.RemoteCopyLagMs, c.RemoteCopyLagBytes = -1, bytes }, 3},
		"by either":                      {func(c *storageConfig, bytes int64) { c.RemoteCopyLagMs, c.RemoteCopyLagBytes = 2*3600_000, 3*bytes }, 2},
		"by size 0":                      {func(c *storageConfig, _ int64) { c.RemoteCopyLagMs, c.RemoteCopyLagBytes = 5*3600_000, 0 }, 4},
		"the bound on waiting wins":      {func(c *storageConfig, _ int64) { c.RemoteCopyLagMs, c.MaxTierLagMs = -1, 3600_000 }, 3},
		"it wins over nothing before":    {func(c *storageConfig, _ int64) { c.RemoteCopyLagMs, c.MaxTierLagMs = 3600_000, 3*3600_000 }, 3},
		"no bound on waiting":            {func(c *storageConfig, _ int64) { c.RemoteCopyLagMs, c.MaxTierLagMs = -1, never }, 0},
		"paused":                         {func(c *storageConfig, _ int64) { c.RemoteCopyDisable = true }, 0},
		"none is old enough":             {func(c *storageConfig, _ int64) { c.RemoteCopyLagMs = 100 * 3600_000 }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			log := newFakeLog(t)
			for i := range 4 {
				closed := now.Add(time.Duration(i-3) * time.Hour)
				log.appendSegment(segmentSpec{timestamp: func(int64) int64 { return closed.UnixMilli() }})
				log.segments[i].closedAt = closed
			}
			w.now.t = now
			bytes := int64(len(log.segments[0].log))
			w.cfg.set(func(c *storageConfig) { q.change(c, bytes) })
			b := w.start(log, 1)
			b.mustAttach()
			b.mustDrain()
			if got := int(b.p.all().Segments); got != q.want {
				t.Fatalf("%d segments went up, want %d", got, q.want)
			}
			if s, _ := b.m.Status(w.tp); name != "paused" && s.LagSegments != 0 {
				t.Errorf("%d segments wait that need not go up", s.LagSegments)
			}
			w.now.advance(1000 * time.Hour)
			w.cfg.set(func(c *storageConfig) { c.RemoteCopyDisable = false })
			if b.mustDrain(); int(b.p.all().Segments) != 4 && w.cfg.get().RemoteCopyLagMs >= 0 {
				t.Errorf("%d segments went up in the end, want 4", b.p.all().Segments)
			}
			b.check()
		})
	}
}

// TestFutureRecordsDoNotDelay: a client's timestamp in the future does not delay an upload.
func TestFutureRecordsDoNotDelay(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	log.appendSegment(segmentSpec{timestamp: func(int64) int64 { return time.Now().Add(24 * time.Hour).UnixMilli() }})
	w.cfg.set(func(c *storageConfig) { c.RemoteCopyLagMs = 3600_000 })
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	if n := b.p.all().Segments; n != 1 {
		t.Errorf("%d segments went up, want 1", n)
	}
}

// TestOverdue: records that wait for longer than they may are reported, whatever the cause.
func TestOverdue(t *testing.T) {
	w := newWorld(t)
	w.cfg.set(func(c *storageConfig) { c.MaxTierLagMs = 60_000 })
	log := newFakeLog(t)
	fill(log, 1)
	b := w.start(log, 1)
	b.mustAttach()
	w.now.t = log.segments[0].closedAt
	for _, q := range []struct{ passed, want time.Duration }{
		{time.Minute, 0}, {time.Second, time.Second}, {time.Hour, time.Hour + time.Second},
	} {
		w.now.advance(q.passed)
		if got := b.m.trouble().overLag; got != q.want {
			t.Errorf("a record waits for %v too long, want %v", got, q.want)
		}
	}
	w.cfg.set(func(c *storageConfig) { c.RemoteCopyDisable = true })
	if got := b.m.trouble().overLag; got != 0 {
		t.Errorf("paused, a record waits for %v too long", got)
	}
	w.cfg.set(func(c *storageConfig) { c.RemoteCopyDisable = false })
	b.mustDrain()
	if got := b.m.trouble().overLag; got != 0 {
		t.Errorf("uploaded, a record waits for %v too long", got)
	}
}
