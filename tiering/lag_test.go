package tiering

import (
	"testing"
	"time"
)

// TestLagTimeIsThatWithoutAnUpload: segments wait, then one of them is uploaded, then none wait.
func TestLagTimeIsThatWithoutAnUpload(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	b := w.start(log, 1)
	b.mustAttach()
	check := func(when string, want time.Duration) {
		t.Helper()
		if got := b.m.trouble().lag; got != want {
			t.Errorf("%s: %v, not %v", when, got, want)
		}
	}
	check("at the start", 0)
	b.p.setLag(lag{segments: 2, bytes: 200})
	w.now.advance(time.Minute)
	check("after a minute", time.Minute)
	b.p.setLag(lag{segments: 3, bytes: 300})
	check("when one more waits", time.Minute)
	b.p.setLag(lag{segments: 2, bytes: 200})
	check("when one went up", 0)
	w.now.advance(time.Minute)
	w.cfg.set(func(c *storageConfig) { c.RemoteCopyDisable = true })
	check("while copying is disabled", 0)
	w.cfg.set(func(c *storageConfig) { c.RemoteCopyDisable = false })
	check("when it is enabled again", time.Minute)
	b.p.setLag(lag{})
	check("when nothing waits", 0)
}

func TestStatsCountCopiesOfTheTopic(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 3)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	s := b.p.Stats
	if s.CopyRequests.Load() != 3 || s.CopyErrors.Load() != 0 || s.CopyBytes.Load() <= b.p.all().Bytes {
		t.Errorf("%d copies, %d failed, %d bytes of objects for %d of the log", s.CopyRequests.Load(), s.CopyErrors.Load(), s.CopyBytes.Load(), b.p.all().Bytes)
	}
}
