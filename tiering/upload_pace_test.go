package tiering

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/storage"
)

// TestUploadsAreNotMuchFasterThanAppends: the upload of a segment that was filled within seconds
// does not take all processors. A segment that was filled slowly, waits behind others or is late is
// uploaded at full speed.
func TestUploadsAreNotMuchFasterThanAppends(t *testing.T) {
	now := &clock{t: time.Now()}
	log := newFakeLog(t)
	config := storage.DefaultConfig()
	config.RemoteStorageEnable = true
	p := &partition{m: &Manager{o: Options{Now: now.now}}, log: log}
	p.Config = func() storage.Config { return config }
	segment := func(bytes int64, filled time.Duration) closedSegment {
		since := now.now().Add(-filled)
		return closedSegment{bytes: bytes, since: func() time.Time { return since }}
	}
	for _, c := range []struct {
		what    string
		segment closedSegment
		waiting int
		want    int64
	}{
		{"filled in 2 s", segment(400<<20, 2*time.Second), 1, 300 << 20},
		{"and one behind it", segment(400<<20, 2*time.Second), 2, 300 << 20},
		{"many wait", segment(400<<20, 2*time.Second), 3, 0},
		{"filled in an hour", segment(400<<20, time.Hour), 1, paceLeast},
		{"filled at once", segment(400<<20, 0), 1, 0},
		{"its time is not known", closedSegment{bytes: 1, since: func() time.Time { return time.Time{} }}, 1, 0},
	} {
		if got := p.paceOf(c.segment, c.waiting); got != c.want {
			t.Errorf("%s: %d bytes a second, want %d", c.what, got, c.want)
		}
	}
	fill(log, 1)
	now.advance(time.Hour)
	config.MaxTierLagMs = 1000
	if got := p.paceOf(segment(400<<20, 2*time.Second), 1); got != 0 {
		t.Errorf("a late one goes at %d bytes a second", got)
	}
}

// TestPacedUploadTakesItsTime: its deadline is long enough for the pace.
func TestPacedUploadTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newCopyQuota(&Options{CopyWindow: time.Second, UploadConcurrency: 4, Now: time.Now})
		pace, longer := q.forUpload(100<<20, 10<<20)
		if longer != 20*time.Second {
			t.Errorf("it may take %v longer, want 20 s", longer)
		}
		began := time.Now()
		for range 1600 {
			if err := pace(context.Background(), 64<<10); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 9900*time.Millisecond || took > 10*time.Second {
			t.Errorf("100 MiB took %v at 10 MiB a second", took)
		}
	})
}
