package tiering

import (
	"bytes"
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
)

// history is a partition with random leaders, logs and faults. The log of the newest leader keeps
// every batch, also those that are only in the tier, for comparison with the tier.
type history struct {
	*world
	t      *rapid.T
	b      *broker // of the newest leader
	log    *historyLog
	epoch  int32
	lossy  int32   // of the newest election that may have lost records
	zombie *broker // an earlier leader that does not know of the newest
}

// historyLog is a leader's log, which takes over from the tier what it has lost.
type historyLog struct {
	*fakeLog
	before    []record.Batch // of the history before the election
	continues bool           // the log is served
}

func (l *historyLog) Continues() { l.continues = true }

func (l *historyLog) StartFromRemote(_ context.Context, s storage.RemoteState) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = nil
	for _, b := range l.before {
		if b.NextOffset() <= s.EndOffset {
			l.batches = append(l.batches, b)
		}
	}
	l.segments, l.start, l.localStart, l.end = nil, s.StartOffset, s.EndOffset, s.EndOffset
	return nil
}

// lead makes the next leader take over with a log.
func (h *history) lead(log *fakeLog) {
	h.epoch++
	h.zombie = h.b
	next := &historyLog{fakeLog: log, continues: h.lossy == 0}
	switch {
	case h.log == nil:
	case h.log.continues:
		next.before = h.log.batches
	default: // no reader has seen what it has lost
		next.before = h.log.before
	}
	h.log, h.b = next, h.start(log, h.epoch)
	if h.lossy > 0 {
		h.b.p.Suspect, h.b.p.LossyEpoch = next, h.lossy
		h.b.p.becomeLeader(context.Background())
	}
}

// lose makes an election choose a leader whose log may be missing the newest records.
func (h *history) lose(*rapid.T) {
	h.lossy = h.epoch + 1
	h.lead(h.loses())
}

// survivors returns how many of the log's batches a damaged disk has left, at least and at most. It
// need not have those that are only in the tier.
func (h *history) survivors() (least, all int) {
	for least < len(h.log.batches) && h.log.batches[least].NextOffset() <= h.log.localStart {
		least++
	}
	return least, len(h.log.batches)
}

// loses returns the log without some of its newest batches.
func (h *history) loses() *fakeLog {
	least, all := h.survivors()
	n := rapid.IntRange(least, all).Draw(h.t, "batches that are left")
	lost := h.log.cutOff(n)
	lost.localStart = h.log.localStart
	for len(lost.segments) > 0 && lost.segments[0].end <= lost.localStart {
		lost.segments = lost.segments[1:]
	}
	lost.start = min(lost.start, lost.end)
	return lost
}

// work does the leader's work, with a fault at one of its requests; or the process dies there.
func (h *history) work(die bool) {
	h.trap = nil
	trap := &trap{n: rapid.IntRange(0, 40).Draw(h.t, "request"), after: rapid.Bool().Draw(h.t, "after"), die: die}
	h.b.m.objects.bucket, h.b.m.store = trap.wrapBucket(h.faults), trap.wrapStore(h.store)
	if h.b.attach() == nil {
		_ = h.b.drain() // whatever the result
	}
	trap.disarm()
	if die {
		h.lead(h.log.restarted())
		h.zombie = nil
	}
}

// settled does all work without faults.
func (h *history) settled() {
	for range 20 {
		if h.b.attach() == nil && h.b.drain() == nil {
			return
		}
	}
	h.t.Fatalf("still failing: %v, %v", h.b.attach(), h.b.drain())
}

func (h *history) check(t *rapid.T) {
	h.settled()
	h.b.check()
	m := h.committed()
	if m.EndOffset > h.log.end || m.LogStart > max(h.log.start, m.StartOffset) {
		t.Fatalf("the tier is [%d, %d) from %d, the log [%d, %d)", m.StartOffset, m.EndOffset, m.LogStart, h.log.start, h.log.end)
	}
	for range 3 {
		if m.StartOffset == m.EndOffset {
			return
		}
		offset := rapid.Int64Range(m.StartOffset, m.EndOffset-1).Draw(t, "offset")
		got, _, err := h.b.m.read(t.Context(), h.tp, offset, rapid.IntRange(1, 20_000).Draw(t, "bytes"), m.EndOffset)
		if err != nil || len(got) == 0 || !bytes.HasPrefix(h.log.want(offset, m.EndOffset), got) {
			t.Fatalf("offset %d: %d bytes that are not the log's, %v", offset, len(got), err)
		}
		first, err := firstBatch(got)
		if err != nil {
			t.Fatal(err)
		}
		if start := max(m.StartOffset, h.log.start); first.MaxTimestamp() >= 0 && first.BaseOffset() >= start {
			found, ok, err := h.b.m.OffsetForTimestamp(t.Context(), h.tp, first.MaxTimestamp(), 1<<60)
			if err != nil || !ok || found.Timestamp < first.MaxTimestamp() || found.Offset > first.LastOffset() {
				t.Fatalf("time %d of offset %d: %+v, %t, %v", first.MaxTimestamp(), first.LastOffset(), found, ok, err)
			}
		}
	}
}

// TestRandomHistoryIsReadBackToTheByte: uploads, commits, deletions and restarts with a fault at
// any request, leaders that change in between, and elections that lose records. The tier always has
// the log's bytes.
func TestRandomHistoryIsReadBackToTheByte(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := &history{world: newWorld(t), t: rt}
		h.lead(newFakeLog(t))
		rt.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				if !h.log.continues {
					h.settled() // a log that is not served gets no records
				}
				h.log.appendSegment(segmentSpec{
					batches: rapid.IntRange(1, 8).Draw(t, "batches"), records: 3, valueBytes: rapid.IntRange(0, 2000).Draw(t, "value"), epoch: h.epoch,
				})
			},
			"work":      func(*rapid.T) { h.work(false) },
			"more work": func(*rapid.T) { h.work(false) },
			"die":       func(*rapid.T) { h.work(true) },
			"elect":     func(*rapid.T) { h.lead(h.log.restarted()) },
			"lose":      h.lose,
			"resegment": func(t *rapid.T) {
				if h.log.localStart > 0 || !h.log.continues {
					return
				}
				log := h.log.restarted()
				log.resegment(rapid.IntRange(1, 9).Draw(t, "batches of a segment"))
				h.lead(log)
			},
			"zombie": func(*rapid.T) {
				if h.zombie != nil && h.zombie.attach() == nil {
					_ = h.zombie.drain()
				}
			},
			"delete records": func(t *rapid.T) {
				if !h.log.continues {
					return
				}
				if err := h.log.AdvanceStartOffset(rapid.Int64Range(0, h.log.end).Draw(t, "log start")); err != nil {
					t.Fatal(err)
				}
			},
			"local retention": func(*rapid.T) {
				for len(h.log.segments) > 1 && h.log.segments[0].end <= h.log.remoteEnd {
					h.log.segments = h.log.segments[1:]
					h.log.localStart = h.log.segments[0].base
				}
			},
			"time": func(t *rapid.T) {
				h.now.advance(time.Duration(rapid.IntRange(1, 300).Draw(t, "minutes")) * time.Minute)
			},
			"check": h.check, "checks": h.check,
		})
		h.check(rt)
		h.now.advance(48 * time.Hour)
		h.settled()
		h.b.check()
		h.now.advance(8 * 24 * time.Hour)
		h.settled()
		h.b.sweepAll()
	})
}

// firstBatch returns the first of some batches.
func firstBatch(batches []byte) (record.Batch, error) {
	b, _, err := record.Split(batches)
	return b, err
}
