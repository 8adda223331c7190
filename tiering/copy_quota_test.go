package tiering

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/objstore"
)

// TestUploadsKeepToTheirQuota: all uploads together keep to the rate, apart from what an idle
// window has left. Deadlines that are too short at such a rate do not end them.
func TestUploadsKeepToTheirQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		log := newFakeLog(t)
		fill(log, 6)
		total := int64(0)
		for _, s := range log.segments {
			total += int64(len(s.log))
		}
		rate := total / 600 // the uploads take ten minutes
		m := running(t, w, func(o *Options) {
			o.Bucket = objstore.Deadline(w.faults, time.Second)
			o.CopyRate, o.CopyWindow, o.UploadConcurrency = func() int64 { return rate }, time.Second, 3
			o.UploadTimeout = time.Second
		})
		began := time.Now()
		tp := w.attachTo(m, log, 7, 1)
		for range 3600 {
			time.Sleep(time.Second)
			if s, _ := m.Status(tp); s.EndOffset == log.end {
				break
			}
		}
		// The parts that are built for the objects are sent too.
		if took := time.Since(began); took < 9*time.Minute || took > 25*time.Minute {
			t.Errorf("the uploads took %v, at a rate for ten minutes", took)
		}
		if n := counter(t, m.metrics.errors.WithLabelValues("upload")); n != 0 {
			t.Errorf("%v uploads failed", n)
		}
	})
}

// TestCopyQuota: unused quota is kept for a window, and no longer.
func TestCopyQuota(t *testing.T) {
	now := &clock{t: time.Now()}
	rate := int64(1000)
	q := newCopyQuota(&Options{CopyRate: func() int64 { return rate }, CopyWindow: 10 * time.Second, UploadConcurrency: 2, Now: now.now})
	for _, s := range []struct {
		passed time.Duration
		bytes  int
		want   time.Duration
	}{
		{0, 10_000, 0}, // an unused window
		{0, 1000, time.Second},
		{3 * time.Second, 1000, 0},
		{time.Hour, 11_000, time.Second},
	} {
		now.advance(s.passed)
		if got := q.note(s.bytes); got != s.want {
			t.Errorf("after %v, %d bytes wait for %v, want %v", s.passed, s.bytes, got, s.want)
		}
	}
	if pace, longer := q.forUpload(5000, 0); pace == nil || longer != 20*time.Second {
		t.Errorf("an upload of 5000 bytes may take %v longer, want 20 s", longer)
	}
	rate = 0
	if pace, longer := q.forUpload(5000, 0); pace != nil || longer != 0 {
		t.Errorf("without a quota an upload may take %v longer", longer)
	}
}

// TestPausedUploadEndsWithItsContext: a detach does not wait for the quota.
func TestPausedUploadEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newCopyQuota(&Options{CopyRate: func() int64 { return 1 }, CopyWindow: time.Second, UploadConcurrency: 1, Now: time.Now})
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, io.ErrClosedPipe)
		defer cancel()
		began := time.Now()
		if err := q.wait(ctx, 1<<20, nil); !errors.Is(err, io.ErrClosedPipe) || time.Since(began) != time.Minute {
			t.Errorf("it waited for %v: %v", time.Since(began), err)
		}
	})
}
