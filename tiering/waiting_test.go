package tiering

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/format"
)

// TestNewLeaderReadsByWhatItFollowed: while that manifest is young, and for offsets that it has.
func TestNewLeaderReadsByWhatItFollowed(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	small(log, 3)
	leader := w.start(log, 1)
	leader.mustAttach()
	leader.mustDrain()
	b := w.follow(newFakeLog(t))
	read := func(offset int64) error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, _, err := b.m.read(ctx, w.tp, offset, 100, 1<<60)
		return err
	}
	if err := read(0); err != nil {
		t.Fatal(err)
	}
	small(log, 1)
	leader.mustDrain()
	w.faults.Add(objstoretest.Fault{Key: "manifest/"}) // it cannot attach
	w.attachTo(b.m, log, w.tp.Partition, 2)
	for offset := range int64(3) {
		if err := read(offset); err != nil {
			t.Errorf("read at %d by the manifest of the follower: %v", offset, err)
		}
	}
	if err := read(3); !errors.Is(err, ErrUnavailable) {
		t.Errorf("read beyond it: %v, want ErrUnavailable", err)
	}
	w.now.advance(b.m.o.DeleteDelay / 2)
	if err := read(0); !errors.Is(err, ErrUnavailable) {
		t.Errorf("read when that is old: %v, want ErrUnavailable", err)
	}
}

// TestAnotherTopicInheritsNothing: a topic of the same name was created after the first was
// deleted.
func TestAnotherTopicInheritsNothing(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	small(log, 1)
	leader := w.start(log, 1)
	leader.mustAttach()
	leader.mustDrain()
	b := w.follow(newFakeLog(t))
	if _, _, err := b.m.read(t.Context(), w.tp, 0, 100, 1<<60); err != nil {
		t.Fatal(err)
	}
	w.id[0]++
	w.attachTo(b.m, newFakeLog(t), w.tp.Partition, 1)
	if p, _ := b.m.partition(w.tp); p.inherited != nil {
		t.Error("it reads the tier of the topic before")
	}
}

// TestWorkDoesNotWaitForReaders: a page that retention needs is read although readers occupy all
// fetchers, and the queue before them.
func TestWorkDoesNotWaitForReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		log := newFakeLog(t)
		small(log, 30)
		b := w.start(log, 1)
		b.mustAttach()
		b.mustDrain()
		m := running(t, w, func(o *Options) { o.FetchConcurrency = 1 })
		tp := w.attachTo(m, log, 7, 2)
		synctest.Wait()
		hold := make(chan struct{})
		defer close(hold)
		for range 10 {
			if err := m.fetcher.submit(held(hold)); err != nil {
				t.Fatal(err)
			}
		}
		if err := log.AdvanceStartOffset(6); err != nil {
			t.Fatal(err)
		}
		m.Kick(tp)
		synctest.Wait()
		if s, _ := m.Status(tp); s.StartOffset != 6 {
			t.Errorf("the tier starts at %d, want 6", s.StartOffset)
		}
	})
}

// held returns a read that keeps its worker until a channel is closed.
func held(hold <-chan struct{}) *fetch {
	return &fetch{wanted: true, do: func(context.Context) int64 { <-hold; return 0 }, drop: func(error) {}}
}

// TestReaderJoinsALateRead: a read that the background has queued moves up for a reader,
// and is done once.
func TestReaderJoinsALateRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		readers, background := newFetcher(time.Minute, newMetrics(nil).fetchQueue, 0, 0), newFetcher(time.Minute, newMetrics(nil).fetchQueue, 0, 0)
		go readers.run(ctx, 1)
		go background.run(ctx, 1)
		defer synctest.Wait()
		defer cancel()
		c := newCache[string]("test", readers, 100, func(int) int64 { return 1 }, newMetrics(nil))
		hold := make(chan struct{})
		defer close(hold)
		if err := background.submit(held(hold)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		reads := 0
		read := func(context.Context) (int, error) { reads++; return 5, nil }
		late := make(chan int)
		go func() {
			v, _ := c.getBy(ctx, background, "page", read)
			late <- v
		}()
		synctest.Wait()
		if v, err := c.get(ctx, "page", read); v != 5 || err != nil {
			t.Errorf("the reader got %d, %v", v, err)
		}
		if v := <-late; v != 5 || reads != 1 {
			t.Errorf("the other one got %d, after %d reads", v, reads)
		}
	})
}

// TestTimesAreLookedUpOnlyWhereTheyAreCold: the bucket is not read for records that the
// local log has too.
func TestTimesAreLookedUpOnlyWhereTheyAreCold(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	small(log, 30) // the record at an offset has the timestamp offset + 1000
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	w.faults.Add(objstoretest.Fault{})
	b.m.pages.forget()
	const before = 12
	for _, ts := range []int64{1000 + before, 1020, 1029, 1030} {
		if found, ok, err := b.m.OffsetForTimestamp(t.Context(), w.tp, ts, before); ok || err != nil {
			t.Errorf("time %d below offset %d: %+v, %t, %v", ts, before, found, ok, err)
		}
	}
	if _, _, err := b.m.OffsetForTimestamp(t.Context(), w.tp, 1000+before-1, before); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a time that is cold: %v, want ErrUnavailable", err)
	}
}

// TestLargestTimestampBelowAnOffset: that of the cold records, if it is the largest of all.
func TestLargestTimestampBelowAnOffset(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	for i := range 30 {
		ts := int64(1000 + i)
		if i == 7 {
			ts = 5000
		}
		log.appendSegment(segmentSpec{batches: 1, timestamp: func(int64) int64 { return ts }})
	}
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	for _, before := range []int64{8, 20, 30} {
		if found, ok, err := b.m.MaxTimestamp(t.Context(), w.tp, before); err != nil || !ok || found.Offset != 7 || found.Timestamp != 5000 {
			t.Errorf("below %d: %+v, %t, %v", before, found, ok, err)
		}
	}
	if found, ok, err := b.m.MaxTimestamp(t.Context(), w.tp, 7); err != nil || ok && found.Offset >= 7 {
		t.Errorf("below 7: %+v, %t, %v", found, ok, err)
	}
}

// TestOverlapIsCountedOnce: a segment that another leader has cut begins below the end of the tier.
// What both objects have is one part of the log.
func TestOverlapIsCountedOnce(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	log.appendSegment(segmentSpec{batches: 10, records: 2, valueBytes: 90})
	log.appendSegment(segmentSpec{batches: 10, records: 2, valueBytes: 90})
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	other := log.restarted()
	other.appendSegment(segmentSpec{batches: 25, records: 2, valueBytes: 90, epoch: 2})
	other.resegment(15) // the second begins in the middle of what was uploaded
	b = w.start(other, 2)
	b.mustAttach()
	b.mustDrain()
	m := b.p.all()
	if got, want := m.Bytes, int64(len(other.want(0, other.end))); got != want {
		t.Errorf("the tier has %d bytes of the log, which has %d", got, want)
	}
	w.cfg.set(func(c *storageConfig) { c.RetentionBytes = m.Bytes - m.Recent[0].Bytes + 1 })
	b.mustDrain()
	if got := b.p.all().StartOffset; got != 0 {
		t.Errorf("a segment too many is gone: the tier starts at %d", got)
	}
	b.check()
}

// TestReadSaysWhatItHolds: a few batches are copied out of their chunk, many batches keep it in
// memory.
func TestReadSaysWhatItHolds(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	log.appendSegment(segmentSpec{batches: 40, valueBytes: 300}) // some chunks
	b := w.start(log, 1, func(o *Options) { o.ReadAheadBytes = -1 })
	b.mustAttach()
	b.mustDrain()
	few, held, err := b.m.read(t.Context(), w.tp, 0, 1, 1<<60)
	if err != nil || held < len(few) || held != cap(few) || held >= format.MinChunkBytes/2 {
		t.Errorf("%d bytes hold %d, of a slice of %d; %v", len(few), held, cap(few), err)
	}
	many, held, err := b.m.read(t.Context(), w.tp, 0, 1<<20, 1<<60)
	if err != nil || len(many) < format.MinChunkBytes/2 || held < len(many) {
		t.Errorf("%d bytes hold %d; %v", len(many), held, err)
	}
}

// TestNothingFollowsInTheTier: the last segment's range reaches further than its last batch, as in
// a log that was once compacted.
func TestNothingFollowsInTheTier(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	small(log, 3)
	log.end += 5
	log.segments[2].end += 5
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	if _, _, err := b.m.read(t.Context(), w.tp, 4, 100, 1<<60); !errors.Is(err, ErrNoBatchFollows) {
		t.Errorf("read: %v, want ErrNoBatchFollows", err)
	}
}

func TestHurriedTasksComeFirst(t *testing.T) {
	s := newScheduler()
	tasks := make([]*task, 5)
	for i := range tasks {
		tasks[i] = &task{lane: laneAttach}
		s.push(tasks[i])
	}
	s.hurry(tasks[3])
	s.hurry(tasks[1])
	s.hurry(tasks[3])
	s.remove(t.Context(), tasks[2])
	for _, want := range []int{3, 1, 0, 4} {
		if got := s.take(laneAttach, func() {}); got != tasks[want] {
			t.Fatalf("it is not the turn of %d", want)
		}
	}
	if got := s.take(laneAttach, func() {}); got != nil {
		t.Fatal("there is one more")
	}
	// A task that a worker has, and that a reader then waits for, is first the next time.
	s.hurry(tasks[4])
	s.push(tasks[4])
	s.finish(tasks[0], outcome{lane: laneAttach, again: true})
	s.finish(tasks[4], outcome{lane: laneAttach})
	if got := s.take(laneAttach, func() {}); got != tasks[4] {
		t.Error("it was not queued before the other one")
	}
}

// TestTasksComeWhenTheyAreDue: each at its time, the earliest first, and none after its removal.
func TestTasksComeWhenTheyAreDue(t *testing.T) {
	s := newScheduler()
	start := time.Now()
	tasks := make([]*task, 4)
	for i := range tasks {
		tasks[i] = &task{lane: laneDelete}
		s.push(tasks[i])
		s.take(laneDelete, func() {})
	}
	for i, minutes := range []int{3, 1, 2, 4} {
		s.finish(tasks[i], outcome{lane: laneDelete, at: start.Add(time.Duration(minutes) * time.Minute)})
	}
	s.remove(t.Context(), tasks[2])
	for _, step := range []struct{ minute, task, next int }{{0, -1, 1}, {1, 1, 3}, {3, 0, 4}, {4, 3, 0}} {
		next := s.release(start.Add(time.Duration(step.minute) * time.Minute))
		if want := start.Add(time.Duration(step.next) * time.Minute); step.next == 0 && !next.IsZero() || step.next != 0 && !next.Equal(want) {
			t.Errorf("minute %d: the next is due at %v", step.minute, next.Sub(start))
		}
		got := s.take(laneDelete, func() {})
		if step.task < 0 && got != nil || step.task >= 0 && got != tasks[step.task] {
			t.Errorf("minute %d: another task", step.minute)
		}
	}
}

// TestMetricsOfTrouble: the metrics show when work fails, and when that ends.
func TestMetricsOfTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		reg := prometheus.NewRegistry()
		m := running(t, w, func(o *Options) { o.Registerer = reg })
		log := newFakeLog(t)
		small(log, 1)
		tp := w.attachTo(m, log, 7, 1)
		synctest.Wait()
		time.Sleep(time.Hour)
		remove := w.faults.Add(objstoretest.Fault{Op: objstoretest.PutOp})
		small(log, 1)
		m.Kick(tp)
		time.Sleep(time.Hour)
		near := func(name, label string, hours float64) {
			t.Helper()
			if got := gauge(t, reg, name, label) / 3600; got < hours-0.02 || got > hours+0.02 {
				t.Errorf("%s{%s} is %.3f hours, want %v", name, label, got, hours)
			}
		}
		near("varve_tiering_failing_seconds", "upload", 1)
		near("varve_tiering_failing_seconds", "attach", 0)
		near("varve_tiering_success_age_seconds", "upload", 2)
		near("varve_tiering_success_age_seconds", "commit", 2)
		near("varve_tiering_lag_seconds", "", 1)
		remove()
		time.Sleep(time.Minute)
		near("varve_tiering_failing_seconds", "upload", 0)
		near("varve_tiering_success_age_seconds", "upload", 0)
		near("varve_tiering_success_age_seconds", "commit", 0)
		time.Sleep(48 * time.Hour)
		if got := gauge(t, reg, "varve_tiering_success_age_seconds", "sweep"); got > 26*3600 {
			t.Errorf("swept %v s ago", got)
		}
	})
}

// gauge returns a registry's gauge with a label of that value, "" for none.
func gauge(t *testing.T, reg *prometheus.Registry, name, label string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && (label == "" || m.GetLabel()[0].GetValue() == label) {
				return m.GetGauge().GetValue()
			}
		}
	}
	t.Fatalf("there is no %s{%s}", name, label)
	return 0
}
