package storage

import (
	"fmt"
	"math"
	"path/filepath"

	"github.com/varvelog/varve/invariants"
)

// These functions assert the invariants of doc.go, by their ids, in a build with the tag
// "invariants". Without the tag they do nothing. They read memory only. A function "...Locked"
// requires the log's lock, or a log that no other goroutine has yet. For a log that was closed, or
// whose disk has failed, no invariant is promised.

// violated panics because an invariant of the log does not hold.
func (l *Log) violated(id, format string, values ...any) {
	invariants.Violated(id, "log "+l.key.String(), format, values...)
}

// solely asserts that the calls that decide what the log holds have one caller at a time (S19). The
// function that it returns ends the call.
func (l *Log) solely(what string) (leave func()) {
	return l.writer.Enter("S19", "log "+l.key.String(), what)
}

// assertLocked asserts what holds for a log whenever its lock is free (S2, S15, S17).
func (l *Log) assertLocked() {
	if !invariants.Enabled || l.usable() != nil {
		return
	}
	l.assertOffsetsLocked()
	end := l.offsets.end.Load()
	epochs := l.epochs.load()
	for i, e := range epochs {
		if i > 0 && (e.Epoch <= epochs[i-1].Epoch || e.StartOffset < epochs[i-1].StartOffset) {
			l.violated("S17", "leader epochs %v do not ascend", epochs)
		}
		if e.StartOffset > end {
			l.violated("S17", "leader epochs %v begin above the end %d", epochs, end)
		}
	}
}

func (l *Log) assertOffsetsLocked() {
	o := &l.offsets
	list := l.list()
	start, end, flushed, recovery := o.start.Load(), o.end.Load(), o.flushed.Load(), o.recovery.Load()
	// These two change without the log's lock, within the bounds.
	hw, unstable := o.hw.Load(), o.unstable.Load()
	if start < 0 || hw < start || end < hw || end < flushed || flushed < recovery || (unstable >= 0 && unstable >= end) {
		l.violated("S15", "log start %d, high watermark %d, end %d, flushed %d, recovery point %d, first unstable offset %d",
			start, hw, end, flushed, recovery, unstable)
	}
	// A follower far behind a compacted leader begins its first segment at the first batch, far
	// above the high watermark.
	if local := list[0].base; local > end || (local > hw && local-hw < math.MaxInt32/2) {
		l.violated("S15", "local start %d, high watermark %d, end %d", local, hw, end)
	}
	for _, s := range list[:len(list)-1] {
		if !s.indexDurable && recovery > s.base {
			l.violated("S2", "recovery point %d is above the base %d of a closed segment whose indexes are not durable", recovery, s.base)
		}
	}
}

// assertList asserts that the segments ascend without overlap, and that the last one is active
// (S14).
func (l *Log) assertList(list segmentList) {
	if !invariants.Enabled || l.usable() != nil {
		return
	}
	if len(list) == 0 {
		l.violated("S14", "it has no segment")
	}
	for i, s := range list {
		end := s.end.Load()
		switch {
		case s.refs.Load() == 0 || s.doomed.Load():
			l.violated("S14", "segment %d of %v was deleted", s.base, list)
		case end < s.base:
			l.violated("S14", "segment %d ends at %d", s.base, end)
		case i+1 < len(list) && (s.base >= list[i+1].base || end > list[i+1].base):
			l.violated("S14", "segment %d ends at %d, the next one begins at %d", s.base, end, list[i+1].base)
		}
	}
	if last := list.active(); last.indexDurable {
		l.violated("S14", "segment %d is the last one, and closed", last.base)
	}
}

// String lists the segments' base offsets.
func (s segmentList) String() string {
	bases := make([]int64, len(s))
	for i := range s {
		bases[i] = s[i].base
	}
	return fmt.Sprint(bases)
}

// assertBatchesLocked asserts that checked batches follow the log's end and each other (S18).
// Batches of a compacted leader may have gaps between them.
func (l *Log) assertBatchesLocked(batches []byte, gaps bool) {
	if !invariants.Enabled {
		return
	}
	end := l.offsets.end.Load()
	next := end
	for b := range eachBatch(batches) {
		if at := b.BaseOffset(); at < next || (at > next && !gaps) || b.NextOffset() <= at {
			l.violated("S18", "batch [%d, %d) is appended at %d, the end was %d", at, b.NextOffset(), next, end)
		}
		next = b.NextOffset()
	}
}

// assertRoomLocked asserts that the batches belong in the active segment (S18).
func (l *Log) assertRoomLocked(s *segment, info *AppendInfo) {
	if !invariants.Enabled {
		return
	}
	if end := s.end.Load(); info.FirstOffset < s.base || info.FirstOffset < end || info.LastOffset-s.base > math.MaxInt32 {
		l.violated("S18", "batches [%d, %d] are written to segment %d, which ends at %d", info.FirstOffset, info.LastOffset, s.base, end)
	}
}

// assertKeepsCommittedLocked asserts that truncating to an offset removes no committed record
// (S16). Records below the log start do not count: they are deleted already.
func (l *Log) assertKeepsCommittedLocked(to int64) {
	if !invariants.Enabled {
		return
	}
	hw, first := l.offsets.hw.Load(), max(to, l.offsets.start.Load())
	if first >= hw {
		return
	}
	for _, s := range l.list() {
		if s.size.Load() > 0 && s.base < hw && s.end.Load() > first {
			l.violated("S16", "a truncation to %d takes records of segment %d below the high watermark %d, and does not say so", to, s.base, hw)
		}
	}
}

// assertPromiseLocked asserts that, before the log is cut at offset, no checkpoint still promises
// anything above it (S2).
func (l *Log) assertPromiseLocked(offset int64) {
	if !invariants.Enabled {
		return
	}
	d := l.dir()
	d.checkpoints.Lock()
	defer d.checkpoints.Unlock()
	for _, name := range []string{recoveryFile, cleanerFile, hwFile} {
		if o := d.checkpoints.written[name][l.key]; o > offset {
			l.violated("S2", "it is cut at %d while %s has %d", offset, name, o)
		}
	}
}

// assertExpendableLocked asserts that retention may delete the first n segments (S5).
func (l *Log) assertExpendableLocked(n int) {
	if !invariants.Enabled {
		return
	}
	list := l.list()
	if n >= len(list) {
		l.violated("S5", "retention deletes all %d segments", len(list))
	}
	end, hw, expendable := list[n].base, l.offsets.hw.Load(), l.expendableBelow()
	if n > 0 && (end > hw || (l.config.Load().copiesToRemote() && end > expendable)) {
		l.violated("S5", "retention deletes up to %d, high watermark %d, expendable below %d, log start %d, remote end %d, flushed %d",
			end, hw, expendable, l.offsets.start.Load(), l.offsets.remoteEnd.Load(), l.offsets.flushed.Load())
	}
}

// assertSwapLocked asserts that a segment made by compaction ends where the segments it is made of
// end. It asserts that it replaces only closed, durable and decided segments (S8, S9).
func (l *Log) assertSwapLocked(g cleanGroup, made *segment) {
	if !invariants.Enabled {
		return
	}
	first, end := g.segments[0].base, made.end.Load()
	if made.base != first || end != g.end || !made.indexDurable {
		l.violated("S9", "segment [%d, %d) takes the place of [%d, %d), durable: %t", made.base, end, first, g.end, made.indexDurable)
	}
	if stable, recovery := l.LastStableOffset(), l.offsets.recovery.Load(); end > stable || end > recovery {
		l.violated("S8", "compaction replaces segments up to %d, last stable offset %d, recovery point %d", end, stable, recovery)
	}
}

// assertCheckpointed asserts that an offset about to enter a checkpoint is not above the log's end
// (S20). before is the end when the offset was read, or earlier: a truncation may run concurrently.
func (l *Log) assertCheckpointed(offset, before int64) {
	if !invariants.Enabled {
		return
	}
	if end := l.offsets.end.Load(); offset > max(before, end) {
		l.violated("S20", "a checkpoint gets offset %d, the end is %d", offset, end)
	}
}

// assertEntry asserts that an index entry sorts after the last one if that is in memory (S3). It
// compares the first field, which ascends in every index.
func (x *sparseIndex) assertEntry(entry []byte, key func(entry []byte) int64) {
	if !invariants.Enabled {
		return
	}
	t := x.tail.Load()
	n := int(t.n.Load())
	if n == 0 {
		return
	}
	if last := t.buf[(n-1)*x.width : n*x.width]; key(last) >= key(entry) {
		x.file.names.RLock()
		defer x.file.names.RUnlock()
		invariants.Violated("S3", filepath.Base(x.file.names.dir)+" "+fileName(x.file.names.base, x.file.ext),
			"an entry for %d comes after one for %d", key(entry), key(last))
	}
}
