package tiering

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestTopicOfBeforeItWasTiered: the segments that it already had are uploaded, the oldest first,
// and the status shows how many are left.
func TestTopicOfBeforeItWasTiered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.cfg.set(func(c *storageConfig) { c.RemoteStorageEnable = false })
		b := &puts{objstoreBucket: w.faults, took: time.Second}
		m := running(t, w, func(o *Options) { o.Bucket, o.UploadConcurrency = b, 2 })
		log := newFakeLog(t)
		fill(log, 10)
		tp := w.attachTo(m, log, 7, 1)
		time.Sleep(time.Minute)
		if s, _ := m.Status(tp); s.LagSegments != 0 || s.EndOffset != -1 || b.segments != 0 {
			t.Fatalf("of a topic that is not tiered %+v", s)
		}
		w.cfg.set(func(c *storageConfig) { c.RemoteStorageEnable = true })
		m.Kick(tp)
		time.Sleep(time.Millisecond)
		bytes := int64(len(log.segments[0].log))
		for left := int64(10); left > 0; left -= 2 {
			s, _ := m.Status(tp)
			if s.State != StateActive || s.LagSegments != left || s.LagBytes < (left-1)*bytes {
				t.Errorf("%d segments and %d bytes are left, want %d segments", s.LagSegments, s.LagBytes, left)
			}
			if want := log.segments[max(9-left, 0)].end; left < 10 && (s.StartOffset != 0 || s.EndOffset != want) {
				t.Errorf("the tier is [%d, %d), want [0, %d)", s.StartOffset, s.EndOffset, want)
			}
			time.Sleep(time.Second)
		}
		if s, _ := m.Status(tp); s.LagSegments != 0 || s.EndOffset != log.end {
			t.Errorf("in the end %d segments are left", s.LagSegments)
		}
	})
}

// TestPausedTopicGoesOnWhereItStopped: nothing is uploaded during the pause, and the status shows
// why.
func TestPausedTopicGoesOnWhereItStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := running(t, w)
		log := newFakeLog(t)
		fill(log, 2)
		tp := w.attachTo(m, log, 7, 1)
		synctest.Wait()
		w.cfg.set(func(c *storageConfig) { c.RemoteCopyDisable = true })
		end := log.end
		fill(log, 3)
		m.Kick(tp)
		time.Sleep(time.Hour)
		if s, _ := m.Status(tp); s.State != StatePaused || s.EndOffset != end || s.LagSegments != 3 || s.Err != nil {
			t.Errorf("paused, the status is %+v", s)
		}
		if waited := m.trouble().lag; waited != 0 {
			t.Errorf("paused, it counts as standing still for %v", waited)
		}
		w.cfg.set(func(c *storageConfig) { c.RemoteCopyDisable = false })
		m.Kick(tp)
		synctest.Wait()
		if s, _ := m.Status(tp); s.State != StateActive || s.EndOffset != log.end || s.LagSegments != 0 {
			t.Errorf("resumed, the status is %+v", s)
		}
	})
}
