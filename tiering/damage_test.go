package tiering

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/format"
)

// TestDamageIsSaid: the damaged object is named once in the log, and in the status and the metrics
// while the damage lasts. Readers that retry at once cost no requests.
func TestDamageIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		var lines logged
		m := running(t, w, func(o *Options) { o.Logger = lines.logger(slog.LevelError) })
		log := newFakeLog(t)
		small(log, 3)
		tp := w.attachTo(m, log, 7, 1)
		synctest.Wait()
		object := w.objects()[1]
		key := format.PartitionPrefix("tier", w.id, 7) + object
		content := make([]byte, 10_000)
		size, _ := w.bucket.GetRange(t.Context(), key, 0, content)
		if err := w.bucket.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
		calls := w.faults.Calls(objstoretest.AnyOp)
		for range 100 {
			if _, _, err := m.read(t.Context(), tp, 1, 100, 1<<60); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("read: %v, want ErrCorrupt", err)
			}
		}
		if n := w.faults.Calls(objstoretest.AnyOp) - calls; n > 2 {
			t.Errorf("%d requests for 100 reads", n)
		}
		s, _ := m.Status(tp)
		if len(s.Problems) != 1 || s.Problems[0].Kind != ProblemDamage || s.Problems[0].Object != key || m.trouble().damaged != 1 {
			t.Errorf("status has %+v, metrics %+v", s.Problems, m.trouble())
		}
		time.Sleep(time.Minute)
		if _, _, err := m.read(t.Context(), tp, 1, 100, 1<<60); !errors.Is(err, ErrCorrupt) {
			t.Errorf("read: %v", err)
		}
		if n := lines.with(object); n != 1 {
			t.Errorf("it was logged %d times: %q", n, lines.lines)
		}
		// The object is restored, from a copy.
		if err := w.bucket.Put(t.Context(), key, strings.NewReader(string(content[:size])), objstorePut{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if _, _, err := m.read(t.Context(), tp, 1, 100, 1<<60); err != nil {
			t.Errorf("read after it was restored: %v", err)
		}
		if s, _ = m.Status(tp); len(s.Problems) != 0 || m.trouble().damaged != 0 {
			t.Errorf("status still has %+v", s.Problems)
		}
	})
}

// TestDamageEndsWithItsSegment: without a copy, DeleteRecords past the damaged segment ends the
// damage.
func TestDamageEndsWithItsSegment(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	small(log, 3)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	if err := b.bucket.Delete(t.Context(), b.p.prefix+b.p.all().Recent[0].Name); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.m.read(t.Context(), b.tp, 0, 100, 1<<60); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("read: %v", err)
	}
	if n := len(b.p.damaged()); n != 1 {
		t.Fatalf("%d objects are damaged", n)
	}
	if err := log.AdvanceStartOffset(1); err != nil {
		t.Fatal(err)
	}
	b.mustDrain()
	if n := len(b.p.damaged()); n != 0 {
		t.Errorf("%d objects are damaged", n)
	}
	if s, _ := b.m.Status(b.tp); s.StartOffset != 1 || len(s.Problems) != 0 {
		t.Errorf("status is %+v", s)
	}
	b.sweepAll()
}

// TestDamagedManifestIsNamed: a leader that cannot attach because of it names it until it can.
func TestDamagedManifestIsNamed(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	small(log, 1)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	key := b.p.prefix + b.p.all().Name()
	content := make([]byte, 10_000)
	n, _ := w.bucket.GetRange(t.Context(), key, 0, content)
	w.damage(key)
	next := w.start(log, 2)
	if err := next.attach(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("attach: %v", err)
	}
	if s, _ := next.m.Status(w.tp); len(s.Problems) != 2 || s.Problems[0].Object != key || s.Problems[1].Kind != "attach" {
		t.Errorf("status has %+v", s.Problems)
	}
	if err := w.bucket.Put(t.Context(), key, strings.NewReader(string(content[:n])), objstorePut{}); err != nil {
		t.Fatal(err)
	}
	next.mustAttach()
	if s, _ := next.m.Status(w.tp); len(s.Problems) != 0 {
		t.Errorf("status has %+v", s.Problems)
	}
}

// TestRetentionPassesADamagedPage: the page expires when all of it has to, by age, size or the log
// start. Before that the damage is reported, and what is before the page expires.
func TestRetentionPassesADamagedPage(t *testing.T) {
	minute := func(offset int64) int64 { return offset * 60_000 }
	for name, expire := range map[string]func(w *world, log *fakeLog, left int64){
		"age": func(w *world, _ *fakeLog, left int64) {
			w.cfg.set(func(c *storageConfig) { c.RetentionMs = w.now.now().UnixMilli() - minute(left) + 1 })
		},
		"size": func(w *world, log *fakeLog, left int64) {
			w.cfg.set(func(c *storageConfig) { c.RetentionBytes = int64(len(log.want(left, log.end))) })
		},
		"log start": func(w *world, log *fakeLog, left int64) {
			if err := log.AdvanceStartOffset(left); err != nil {
				w.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			log := newFakeLog(t)
			for range 30 {
				log.appendSegment(segmentSpec{batches: 1, timestamp: minute})
			}
			b := w.start(log, 1)
			b.mustAttach()
			b.mustDrain()
			pages := b.p.all().Pages
			second := pages[slices.IndexFunc(pages, func(r format.PageRef) bool { return r.StartOffset > 0 })]
			w.damage(b.p.prefix + second.Name)
			b = w.start(log, 2) // which has not read the page
			b.mustAttach()
			expire(w, log, second.StartOffset+1)
			if err := b.drain(); err != nil && !errors.Is(err, ErrCorrupt) || err == nil {
				t.Errorf("within the damaged page: %v, want ErrCorrupt", err)
			}
			if got := b.p.all().StartOffset; got != second.StartOffset {
				t.Errorf("the tier starts at %d, want %d", got, second.StartOffset)
			}
			b.m.pages.forget()
			expire(w, log, second.EndOffset)
			b.mustDrain()
			if got := b.p.all().StartOffset; got != second.EndOffset {
				t.Errorf("the tier starts at %d, want %d", got, second.EndOffset)
			}
			b.check()
		})
	}
}

// TestFollowerOfADamagedManifest checks that a follower does not load the manifest for every
// reader.
func TestFollowerOfADamagedManifest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		log := newFakeLog(t)
		small(log, 1)
		b := w.start(log, 1)
		b.mustAttach()
		b.mustDrain()
		w.damage(b.p.prefix + b.p.all().Name())
		follower := w.follow(newFakeLog(t))
		calls := w.faults.Calls(objstoretest.AnyOp)
		for range 100 {
			if _, _, err := follower.m.read(t.Context(), w.tp, 0, 100, 1<<60); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("read: %v, want ErrCorrupt", err)
			}
		}
		if n := w.faults.Calls(objstoretest.AnyOp) - calls; n > 2 {
			t.Errorf("%d requests for 100 reads", n)
		}
		time.Sleep(time.Minute)
		small(log, 1)
		log.onRemoteEnd = nil // which would load the manifest
		b.mustDrain()         // with another manifest
		if _, _, err := follower.m.read(t.Context(), w.tp, 0, 100, 1<<60); err != nil {
			t.Errorf("read after the next commit: %v", err)
		}
	})
}
