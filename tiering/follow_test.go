package tiering

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/storage"
)

// follow returns a broker that follows the partition, with a log of its own.
func (w *world) follow(log *fakeLog) *broker {
	w.t.Helper()
	b := w.start(log, 1)
	delete(b.m.mu.partitions, w.tp)
	b.p = b.m.newPartition(Partition{TopicID: w.id, TopicPartition: w.tp, LeaderEpoch: 1, Config: w.cfg.get}, log)
	b.p.follower = newFollower()
	b.m.enter(context.Background(), b.p)
	return b
}

// TestFollowerReadsWhatTheLeaderUploads: at once, also what is uploaded and what expires later.
func TestFollowerReadsWhatTheLeaderUploads(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	leader := w.start(log, 1)
	follower := w.follow(newFakeLog(t))
	if _, _, err := follower.m.read(t.Context(), w.tp, 0, 100, 1<<60); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatalf("before anything is uploaded: %v", err)
	}
	leader.mustAttach()
	read := func(from int64) {
		t.Helper()
		var got []byte
		for offset := from; offset < log.end; {
			b, _, err := follower.m.read(t.Context(), w.tp, offset, 5000, 1<<60)
			if err != nil {
				t.Fatalf("read at %d: %v", offset, err)
			}
			offset = lastOffset(t, b) + 1
			got = append(got, b...)
		}
		if !bytes.Equal(got, log.want(from, log.end)) {
			t.Fatalf("from %d on it reads other bytes", from)
		}
	}
	for range 5 {
		fill(log, 4)
		leader.mustDrain()
		read(0)
	}
	// Most of it expires and is deleted; the follower has not read for longer than that takes.
	if err := log.AdvanceStartOffset(log.end - 20); err != nil {
		t.Fatal(err)
	}
	leader.mustDrain()
	w.now.advance(time.Hour)
	leader.mustDrain()
	read(log.end - 20)
	if _, _, err := follower.m.read(t.Context(), w.tp, 0, 100, 1<<60); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("what has expired: %v", err)
	}
}

// TestFollowerReadsByAManifestThatHasBeenReplaced: a missing object makes the follower load the
// newer manifest.
func TestFollowerReadsByAManifestThatHasBeenReplaced(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 3)
	leader := w.start(log, 1, func(o *Options) { o.DeleteDelay = time.Nanosecond })
	leader.mustAttach()
	leader.mustDrain()
	follower := w.follow(newFakeLog(t))
	if _, _, err := follower.m.read(t.Context(), w.tp, log.segments[1].base, 100, 1<<60); err != nil {
		t.Fatal(err)
	}
	if err := log.AdvanceStartOffset(log.segments[1].base); err != nil {
		t.Fatal(err)
	}
	leader.mustDrain()
	w.now.advance(time.Second)
	leader.mustDrain()
	if _, _, err := follower.m.read(t.Context(), w.tp, 0, 100, 1<<60); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Errorf("a segment that is gone: %v", err)
	}
}

// TestFollowerChangesNothing counts the follower's writes.
func TestFollowerChangesNothing(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	fill(log, 3)
	leader := w.start(log, 1)
	leader.mustAttach()
	leader.mustDrain()
	before, pointer := w.objects(), w.committed().Name()
	behind := newFakeLog(t)
	fill(behind, 5)
	follower := w.follow(behind)
	follower.m.Kick(w.tp)
	follower.m.kickAll()
	for l := range laneCount {
		if n := follower.m.scheduler.mu.queues[l].len(); n != 0 {
			t.Errorf("%d pieces of work are queued in lane %d", n, l)
		}
	}
	if _, _, err := follower.m.read(t.Context(), w.tp, 0, 100, 1<<60); err != nil {
		t.Fatal(err)
	}
	if _, err := follower.m.LatestState(t.Context(), w.tp); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(w.objects(), before) || w.committed().Name() != pointer || behind.remoteEnd != -1 || behind.start != 0 {
		t.Error("the bucket, the pointer or the log has changed")
	}
	if s, ok := follower.m.Status(w.tp); !ok || s.EndOffset != log.end {
		t.Errorf("%+v, %t", s, ok)
	}
}

func TestLatestState(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	leader := w.start(log, 4)
	follower := w.follow(newFakeLog(t))
	if _, err := follower.m.LatestState(t.Context(), w.tp); !errors.Is(err, ErrUnavailable) {
		t.Errorf("of nothing: %v", err)
	}
	leader.mustAttach()
	for epoch := range int32(3) {
		log.appendSegment(segmentSpec{batches: 2, records: 2, epoch: 2 + epoch})
		leader.mustDrain()
		got, err := follower.m.LatestState(t.Context(), w.tp)
		if err != nil {
			t.Fatal(err)
		}
		if got.StartOffset != 0 || got.EndOffset != log.end || string(got.Producers) != "snapshot" || !slices.Equal(got.Epochs, log.epochsLocked(log.end)) {
			t.Errorf("%+v", got)
		}
	}
	if len(log.epochsLocked(log.end)) != 3 {
		t.Error("the epochs were to be three")
	}
	if err := log.AdvanceStartOffset(log.segments[1].base + 1); err != nil {
		t.Fatal(err)
	}
	leader.mustDrain()
	if got, err := follower.m.LatestState(t.Context(), w.tp); err != nil || got.StartOffset != log.segments[1].base+1 {
		t.Errorf("log start %d, %v", got.StartOffset, err)
	}
	// Unknown producers must not pass for no producers.
	log.noSnapshots = true
	fill(log, 1)
	leader.mustDrain()
	if _, err := follower.m.LatestState(t.Context(), w.tp); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a producer snapshot: %v", err)
	}
	log.noSnapshots = false
	fill(log, 1)
	leader.mustDrain()
	if _, err := follower.m.LatestState(t.Context(), w.tp); err != nil {
		t.Errorf("with one again: %v", err)
	}
	if _, err := leader.m.LatestState(t.Context(), w.tp); !errors.Is(err, ErrUnavailable) {
		t.Errorf("of one that this broker leads: %v", err)
	}
	w.faults.Add(objstoretest.Fault{})
	fresh := w.follow(newFakeLog(t))
	if _, err := fresh.m.LatestState(t.Context(), w.tp); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without a bucket: %v", err)
	}
}

// TestFollowerLooksUpTimesUpToItsLocalLog: a manifest that ends before the local log begins
// is loaded again.
func TestFollowerLooksUpTimesUpToItsLocalLog(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	leader := w.start(log, 1)
	leader.mustAttach()
	behind := newFakeLog(t)
	follower := w.follow(behind)
	for range 3 {
		fill(log, 1)
		leader.mustDrain()
		behind.localStart = log.end
		last := log.batches[len(log.batches)-1].LastOffset()
		got, ok, err := follower.m.OffsetForTimestamp(context.Background(), w.tp, 1000+last, math.MaxInt64)
		if err != nil || !ok || got != (storage.TimestampOffset{Offset: last, Timestamp: 1000 + last, LeaderEpoch: 0}) {
			t.Errorf("%+v, %t, %v; want offset %d", got, ok, err, last)
		}
	}
}
