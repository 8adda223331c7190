package tiering

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/format"
)

// setPointer sets the pointer to that of another time.
func (w *world) setPointer(p *format.Pointer) {
	w.t.Helper()
	value, err := p.Encode()
	if err == nil {
		_, err = w.store.Txn(w.t.Context(), nil, kv.Put(metadata.TierKey(w.id, w.tp.Partition), value))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) remove(name string) {
	w.t.Helper()
	if err := w.bucket.Delete(w.t.Context(), w.prefix()+name); err != nil {
		w.t.Fatal(err)
	}
}

// replace replaces an object's content.
func (w *world) replace(name string, content []byte) {
	w.t.Helper()
	w.remove(name)
	if err := w.bucket.Put(w.t.Context(), w.prefix()+name, bytes.NewReader(content), objstore.PutOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// expired returns the log without its first n segments on the disk.
func (l *fakeLog) expired(n int) *fakeLog {
	l.localStart, l.segments = l.segments[n].base, l.segments[n:]
	return l
}

func (b *broker) rebuild() (Rebuilt, error) { return b.m.Rebuild(b.t.Context(), b.tp, false) }

func (b *broker) mustRebuild() Rebuilt {
	b.t.Helper()
	r, err := b.rebuild()
	if err != nil {
		b.t.Fatalf("rebuild: %v; it skipped %v", err, r.Skipped)
	}
	return r
}

// goesOn uploads another segment, and checks the tier against the log.
func (b *broker) goesOn() {
	b.t.Helper()
	b.log.appendSegment(segmentSpec{batches: 3, records: 3, valueBytes: 100, epoch: b.p.LeaderEpoch})
	b.mustAttach()
	b.mustDrain()
	if m := b.committed(); m.StartOffset != 0 || m.EndOffset != b.log.end || b.log.remoteEnd != b.log.end {
		b.t.Fatalf("the tier is [%d, %d), the log ends at %d and may go up to %d", m.StartOffset, m.EndOffset, b.log.end, b.log.remoteEnd)
	}
	if s, _ := b.m.Status(b.tp); len(s.Problems) != 0 || s.State != StateActive {
		b.t.Errorf("the tier is %s, with problems %+v", s.State, s.Problems)
	}
	b.check()
	b.sweepAll()
}

// TestRebuildOfALostPointer: what is in the bucket is found again, however much of it the log has.
// A dry run changes nothing.
func TestRebuildOfALostPointer(t *testing.T) {
	for what, q := range map[string]struct {
		change   func(log *fakeLog) *fakeLog
		restarts int
	}{
		"all is on the disk": {func(log *fakeLog) *fakeLog { return log }, 0},
		"a part is not":      {func(log *fakeLog) *fakeLog { return log.expired(1) }, 0},
		"nothing is":         {func(log *fakeLog) *fakeLog { return log.cutOff(0) }, 1},
	} {
		t.Run(what, func(t *testing.T) {
			w, log := tieredLog(t)
			m := w.committed()
			w.dropPointer()
			b, l := w.suspect(q.change(log.restarted()), 4)
			_ = b.attach()
			if err := b.drain(); !needsRepair(err) {
				t.Fatalf("without a pointer: %v", err)
			}
			before, objects := b.p.own, w.objects()
			look, err := b.m.Rebuild(t.Context(), w.tp, true)
			if _, revision := w.pointer(); err != nil || revision != 0 || b.p.own != before || !slices.Equal(objects, w.objects()) {
				t.Fatalf("a look has changed something, or failed: %v", err)
			}
			if !look.Changed || look.Was != "" || look.Manifest != m.Name() || look.StartOffset != 0 || look.EndOffset != log.end ||
				look.Segments != 3 || look.Bytes != m.Bytes || len(look.Skipped) != 0 {
				t.Errorf("found %+v", look)
			}
			if r := b.mustRebuild(); fmt.Sprint(r) != fmt.Sprint(look) {
				t.Errorf("rebuilt %+v, found %+v before", r, look)
			}
			ptr, _ := w.pointer()
			if ptr.LeaderEpoch != 4 || ptr.BrokerID != b.m.o.BrokerID || ptr.Claim == "" || ptr.CommittedMs == 0 || w.committed().Name() != m.Name() {
				t.Errorf("the pointer is %+v", ptr)
			}
			if b.mustAttach(); len(l.restarts) != q.restarts || l.continues == 0 {
				t.Errorf("the log began %d times at the tier's end, and continues %d times", len(l.restarts), l.continues)
			}
			l.batches = slices.Clone(log.batches) // to compare with
			b.goesOn()
			if r := b.mustRebuild(); r.Changed || r.Manifest != w.committed().Name() || r.Was != r.Manifest {
				t.Errorf("a rebuild of what is well has %+v", r)
			}
		})
	}
}

// TestRebuildOfAnOlderPointer: etcd is from before some uploads. What the older manifest names
// may still exist.
func TestRebuildOfAnOlderPointer(t *testing.T) {
	for _, gone := range []bool{false, true} {
		t.Run(fmt.Sprintf("gone=%t", gone), func(t *testing.T) {
			w, log := tieredLog(t)
			older, _ := w.pointer()
			fill(log, 8) // some pages
			b := w.start(log, 2)
			b.mustAttach()
			b.mustDrain()
			if gone {
				w.now.advance(2 * b.m.o.DeleteDelay)
				b.mustDrain()
			}
			newest := w.committed()
			w.setPointer(older)
			b = w.start(log.restarted().expired(6), 3)
			if err := b.attach(); gone != errors.Is(err, ErrCorrupt) || !gone && !errors.Is(err, ErrGap) {
				t.Fatalf("attach: %v", err)
			}
			r := b.mustRebuild()
			if !r.Changed || r.Was != older.Manifest || r.Manifest != newest.Name() || gone != (len(r.Skipped) == 1) {
				t.Errorf("rebuilt %+v", r)
			}
			b.goesOn()
		})
	}
}

// TestRebuildBesideItsOwner: the owner of an older manifest has noticed nothing. It adopts
// the newer one.
func TestRebuildBesideItsOwner(t *testing.T) {
	w, b := olderOwner(t)
	newest := w.objectsOf(format.KindManifest)[len(w.objectsOf(format.KindManifest))-1]
	if err := b.p.tellLog(); err != nil || b.log.remoteEnd <= 0 {
		t.Fatalf("the log may delete up to %d: %v", b.log.remoteEnd, err)
	}
	if r := b.mustRebuild(); !r.Changed || r.Manifest != newest {
		t.Errorf("rebuilt %+v, the newest is %s", r, newest)
	}
	if b.log.remoteEnd != -1 {
		t.Errorf("the log may delete up to %d before it was compared", b.log.remoteEnd)
	}
	b.goesOn()
}

// olderOwner returns the owner of a pointer that is older than the bucket.
func olderOwner(t *testing.T) (*world, *broker) {
	t.Helper()
	w, log := tieredLog(t)
	older, _ := w.pointer()
	fill(log, 2)
	b := w.start(log, 2)
	b.mustAttach()
	b.mustDrain()
	w.setPointer(older)
	b = w.start(log.restarted(), 3)
	b.mustAttach()
	return w, b
}

// TestRebuildTakesTheNewestThatIsWhole: a manifest with a missing or damaged part is passed over.
func TestRebuildTakesTheNewestThatIsWhole(t *testing.T) {
	for what, damage := range map[string]func(w *world, newest *format.Manifest){
		"segment missing": func(w *world, newest *format.Manifest) { w.remove(newest.Recent[len(newest.Recent)-1].Name) },
		"segment too short": func(w *world, newest *format.Manifest) {
			name := newest.Recent[len(newest.Recent)-1].Name
			w.replace(name, w.object(name)[1:])
		},
		"manifest damaged": func(w *world, newest *format.Manifest) {
			content := w.object(newest.Name())
			content[len(content)/2]++
			w.replace(newest.Name(), content)
		},
		"manifest of another partition": func(w *world, newest *format.Manifest) {
			other := *newest
			other.Partition++
			content, stored, err := other.Encode()
			if err != nil {
				w.t.Fatal(err)
			}
			w.replace(stored.Name, content)
		},
	} {
		t.Run(what, func(t *testing.T) {
			w, log := tieredLog(t)
			before := w.committed()
			fill(log, 1)
			b := w.start(log, 1)
			b.mustAttach()
			b.mustDrain()
			newest := w.committed()
			w.dropPointer()
			damage(w, newest)
			b = w.start(log.restarted(), 2)
			_ = b.attach()
			r := b.mustRebuild()
			if r.Manifest != before.Name() || !r.Changed || len(r.Skipped) != 1 || r.Skipped[0].Manifest != newest.Name() || !errors.Is(r.Skipped[0].Err, ErrCorrupt) {
				t.Errorf("rebuilt %+v, want %s", r, before.Name())
			}
			b.goesOn()
		})
	}
}

// TestRebuildWantsAllPages: a page is missing, and with it everything that it names.
func TestRebuildWantsAllPages(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 20)
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	w.now.advance(2 * b.m.o.DeleteDelay) // of the replaced manifests
	b.mustDrain()
	w.remove(w.objectsOf(format.KindPage)[0])
	w.dropPointer()
	if r, err := w.start(log.restarted(), 2).rebuild(); !errors.Is(err, ErrNoManifest) || len(r.Skipped) == 0 || !errors.Is(r.Skipped[0].Err, ErrCorrupt) {
		t.Errorf("rebuilt %+v: %v", r, err)
	}
}

// TestRebuildOfNothing: a partition that was never tiered has no pointer after the rebuild either.
func TestRebuildOfNothing(t *testing.T) {
	w := newWorld(t)
	b := w.start(newFakeLog(t), 1)
	if r, err := b.rebuild(); !errors.Is(err, ErrNoManifest) || r.Manifest != "" {
		t.Errorf("rebuilt %+v: %v", r, err)
	}
	if _, revision := w.pointer(); revision != 0 {
		t.Error("there is a pointer")
	}
	fill(b.log, 2)
	b.goesOn()
}

// TestRebuildWhereNothingWasCommitted: the lost pointer was that of a tier to which one segment was
// uploaded, and no manifest. There is nothing to find, and the owner starts over.
func TestRebuildWhereNothingWasCommitted(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 1)
	b := w.start(log, 1)
	b.mustAttach()
	remove := w.faults.Add(objstoretest.Fault{Kind: objstoretest.Fail, Op: objstoretest.PutOp, Key: "manifest/"})
	if err := b.drain(); err == nil || len(w.objectsOf(format.KindSegment)) == 0 {
		t.Fatalf("drained: %v", err)
	}
	remove()
	w.dropPointer()
	b = w.start(log.restarted(), 2)
	b.mustAttach()
	if err := b.drain(); !errors.Is(err, ErrLostPointer) {
		t.Fatalf("without its pointer: %v", err)
	}
	if r := b.mustRebuild(); !r.Changed || r.Manifest != "" {
		t.Errorf("rebuilt %+v", r)
	}
	b.goesOn()
	if m := w.committed(); m.StartOffset != 0 || m.EndOffset != b.log.end {
		t.Errorf("the tier has [%d, %d) of [0, %d)", m.StartOffset, m.EndOffset, b.log.end)
	}
}

// TestRebuildForALeaderThatLostItsClaim: the pointer is lost before anything was uploaded. The
// leader that had claimed it takes that for the end of the topic. A rebuild has it start over,
// although there is nothing to find.
func TestRebuildForALeaderThatLostItsClaim(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 1)
	b := w.start(log, 1)
	b.mustAttach()
	heal := w.faults.Add(objstoretest.Fault{Kind: objstoretest.Fail, Op: objstoretest.PutOp})
	if err := b.drain(); err == nil {
		t.Fatal("nothing failed")
	}
	if _, revision := w.pointer(); revision == 0 || len(w.objects()) != 0 {
		t.Fatalf("claimed at revision %d, with %q in the bucket", revision, w.objects())
	}
	w.dropPointer()
	w.now.advance(48 * time.Hour) // a sweep reads the pointer
	if err := b.drain(); !errors.Is(err, ErrDeposed) {
		t.Fatalf("without its pointer: %v", err)
	}
	heal()
	if r, err := b.m.Rebuild(t.Context(), b.tp, true); err != nil || !r.Changed {
		t.Errorf("a dry run found %+v: %v", r, err)
	}
	if r := b.mustRebuild(); !r.Changed || r.Manifest != "" {
		t.Errorf("rebuilt %+v", r)
	}
	b.goesOn()
	if m := w.committed(); m.StartOffset != 0 || m.EndOffset != b.log.end {
		t.Errorf("the tier has [%d, %d) of [0, %d)", m.StartOffset, m.EndOffset, b.log.end)
	}
}

// TestRebuildKeepsWhatIsThere: neither damage nor another history is a reason to go back to a
// manifest that has less.
func TestRebuildKeepsWhatIsThere(t *testing.T) {
	keeps := func(t *testing.T, w *world, epoch int32) (Rebuilt, error) {
		t.Helper()
		ptr, revision := w.pointer()
		r, err := w.start(newFakeLog(t), epoch).rebuild()
		if now, at := w.pointer(); at != revision {
			t.Errorf("the pointer named %s, and names %s", ptr.Manifest, now.Manifest)
		}
		return r, err
	}
	t.Run("damaged", func(t *testing.T) {
		w, _ := tieredLog(t)
		w.remove(w.objectsOf(format.KindSegment)[2])
		if _, err := keeps(t, w, 2); !errors.Is(err, ErrCorrupt) {
			t.Errorf("rebuild: %v", err)
		}
	})
	for what, change := range map[string]func(log *fakeLog){
		"shorter": func(log *fakeLog) { log.appendSegment(segmentSpec{batches: 5, records: 3, valueBytes: 100}) },
		"other records": func(log *fakeLog) {
			for range 5 {
				log.appendSegment(segmentSpec{batches: 5, records: 3, valueBytes: 100, epoch: 5})
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			w, _ := tieredLog(t)
			ptr, _ := w.pointer()
			w.dropPointer()
			log := newFakeLog(t)
			change(log)
			other := newWorld(t) // whose metadata store was given up
			other.bucket, other.faults = w.bucket, w.faults
			b := other.start(log, 5)
			b.mustAttach()
			b.p.chores.continues = true
			b.m.objects.bucket = blind{b.m.objects.bucket}
			b.mustDrain()
			w.setPointer(ptr)
			r, err := keeps(t, w, 6)
			if err != nil || r.Changed || r.Manifest != ptr.Manifest || len(r.Skipped) == 0 || !errors.Is(r.Skipped[0].Err, errNoSuccessor) {
				t.Errorf("rebuilt %+v: %v", r, err)
			}
		})
	}
	t.Run("newer format", func(t *testing.T) {
		w, _ := tieredLog(t)
		w.dropPointer()
		newest := w.objectsOf(format.KindManifest)
		name := newest[len(newest)-1]
		w.replace(name, bytes.Replace(w.object(name), []byte("varve-manifest 3 "), []byte("varve-manifest 4 "), 1))
		if _, err := keeps(t, w, 2); !errors.Is(err, ErrUnsupportedFormat) {
			t.Errorf("rebuild: %v", err)
		}
	})
}

// blind is a bucket that lists no objects.
type blind struct{ objstore.Bucket }

func (blind) List(context.Context, string) iter.Seq2[objstore.ObjectInfo, error] {
	return func(func(objstore.ObjectInfo, error) bool) {}
}

// TestRebuildByTheLeaderOnly: only the leader rebuilds, only for a topic that exists, and one
// rebuild at a time.
func TestRebuildByTheLeaderOnly(t *testing.T) {
	w, log := tieredLog(t)
	ptr, _ := w.pointer()
	newer, deleted := *ptr, *ptr
	newer.LeaderEpoch = 9
	deleted.DeletedMs, deleted.LeaderEpoch = 1, deletedEpoch
	for what, other := range map[string]*format.Pointer{"newer leader": &newer, "deleted": &deleted} {
		w.setPointer(other)
		if _, err := w.start(log.restarted(), 2).rebuild(); !errors.Is(err, ErrDeposed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.setPointer(ptr)
	b := w.start(log.restarted(), 2)
	b.m.rebuilding.Store(b.p, true)
	if _, err := b.rebuild(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("two at once: %v", err)
	}
	b.m.Detach(t.Context(), w.tp)
	if _, err := b.rebuild(); !errors.Is(err, ErrUnknownPartition) {
		t.Errorf("detached: %v", err)
	}
	if _, err := w.follow(newFakeLog(t)).rebuild(); !errors.Is(err, ErrUnknownPartition) {
		t.Errorf("follower: %v", err)
	}
}

// TestRebuildOfADamagedPointer: no leader can read the pointer.
func TestRebuildOfADamagedPointer(t *testing.T) {
	w, log := tieredLog(t)
	if _, err := w.store.Txn(t.Context(), nil, kv.Put(metadata.TierKey(w.id, w.tp.Partition), []byte("{"))); err != nil {
		t.Fatal(err)
	}
	b := w.start(log.restarted(), 2)
	if err := b.attach(); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("attach: %v", err)
	}
	b.mustRebuild()
	b.goesOn()
}

// TestRebuildOfADeposedOwner: the pointer disappeared while its owner was running.
func TestRebuildOfADeposedOwner(t *testing.T) {
	w, log := tieredLog(t)
	b := w.start(log.restarted(), 2)
	b.mustAttach()
	w.dropPointer()
	b.log.onRemoteEnd = nil // it gets an end that was true
	fill(b.log, 1)
	if err := b.drain(); !b.p.deposed() {
		t.Fatalf("drain: %v", err)
	}
	if r := b.mustRebuild(); !r.Changed {
		t.Errorf("rebuilt %+v", r)
	}
	b.goesOn()
}

// TestRebuildWithALostAnswer: every request of a rebuild fails once, before it has happened and
// after. The pointer names one of the two manifests, and the owner continues from it.
func TestRebuildWithALostAnswer(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := 0; ; n++ {
			sprung := false
			t.Run(fmt.Sprintf("request=%d/after=%t", n, after), func(t *testing.T) {
				w, b := olderOwner(t)
				w.trap = &trap{n: n, after: after}
				b.m.o.Bucket, b.m.store = w.trap.wrapBucket(w.faults), w.trap.wrapStore(w.store)
				b.m.objects.bucket = b.m.o.Bucket
				_, _ = b.rebuild()
				sprung = w.trap.count > n
				w.trap.disarm()
				b.log.appendSegment(segmentSpec{batches: 3, records: 3, valueBytes: 100, epoch: 3})
				b.persist()
				if m := w.committed(); m.Prev == nil || m.Prev.Name == "" || m.EndOffset != b.log.end {
					t.Errorf("the manifest after is %+v", m)
				}
				b.mustRebuild()
				b.goesOn()
			})
			if !sprung {
				if n < 5 {
					t.Errorf("only %d requests were tried", n)
				}
				break
			}
		}
	}
}

// TestRebuildEndsAnUpload: the owner's unit is canceled, and the log is not touched after Detach.
func TestRebuildEndsAnUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, log := tieredLog(t)
		m := running(t, w)
		log = log.restarted()
		tp := w.attachTo(m, log, w.tp.Partition, 2)
		synctest.Wait()
		// Only the upload's own request hangs: the owner continues as soon as it is rebuilt.
		w.faults.Add(objstoretest.Fault{Kind: objstoretest.Slow, Op: objstoretest.PutOp, Times: 1, Latency: 5 * time.Minute})
		fill(log, 1)
		m.Kick(tp)
		time.Sleep(time.Second)
		w.dropPointer()
		began := time.Now()
		if r, err := m.Rebuild(t.Context(), tp, false); err != nil || !r.Changed {
			t.Errorf("rebuilt %+v: %v", r, err)
		}
		if waited := time.Since(began); waited > time.Minute {
			t.Errorf("the rebuild waited %v for an upload", waited)
		}
		time.Sleep(time.Second)
		if s, _ := m.Status(tp); s.EndOffset != log.end || s.State != StateActive {
			t.Errorf("the tier is %s, and ends at %d", s.State, s.EndOffset)
		}
		w.dropPointer()
		w.faults.Add(objstoretest.Fault{Kind: objstoretest.Slow, Op: objstoretest.ListOp, Latency: 5 * time.Minute})
		ended := make(chan error)
		go func() {
			_, err := m.Rebuild(t.Context(), tp, false)
			ended <- err
		}()
		time.Sleep(time.Second)
		began = time.Now()
		m.Detach(t.Context(), tp)
		if err := <-ended; err == nil || time.Since(began) > time.Minute {
			t.Errorf("the rebuild ended after %v with %v", time.Since(began), err)
		}
	})
}
