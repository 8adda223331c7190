package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// witness drives one log on a file system that fails, and knows what the log has acknowledged. The
// log must have all of must, and after that any prefix of may.
type witness struct {
	t      testing.TB
	k      *kit
	mem    *vfs.Mem
	faulty *vfs.Faulty
	l      *Log

	must    []record.Batch // acknowledged
	may     []record.Batch // of an operation that failed: in the log or not
	flushed int64
	hw      int64
	at      int64 // end of the log without any batch
}

// witnessProducer is the producer of all batches.
const witnessProducer = 5

func newWitness(t testing.TB) *witness {
	t.Helper()
	w := &witness{t: t, mem: vfs.NewMem()}
	w.faulty = vfs.NewFaulty(w.mem)
	w.k = newKit(t, w.faulty, func(c *Config) {
		c.SegmentBytes = 3 * int64(len(w.batch(0, nil)))
		c.IndexIntervalBytes = 0
		c.RetentionBytes = 5 * c.SegmentBytes / 3
	})
	if err := w.k.m.Close(); err != nil {
		t.Fatal(err)
	}
	w.k.options.MaxOpenFiles = 3 // so that files are reopened all the time
	w.k.open()
	w.l = w.k.log()
	return w
}

// batch builds the batch that follows after.
func (w *witness) batch(at int64, after []record.Batch) record.Batch {
	var seq int32
	if len(after) > 0 {
		seq = after[len(after)-1].LastSequence() + 1
	}
	b := batchOf(1, 50, epoch0.UnixMilli()+at*100, producer(witnessProducer, 0, seq))
	return b
}

func (w *witness) end() int64 { return endOf(w.must, w.at) }

func endOf(batches []record.Batch, empty int64) int64 {
	if len(batches) == 0 {
		return empty
	}
	return batches[len(batches)-1].NextOffset()
}

func (w *witness) append() error {
	b := w.batch(w.end(), w.must)
	info, err := w.l.Append(b, 1)
	if err != nil {
		w.may = []record.Batch{b}
		return err
	}
	if info.FirstOffset != w.end() || info.Duplicate {
		w.t.Fatalf("%+v, want offset %d", info, w.end())
	}
	w.must, w.may = append(w.must, b), nil
	return nil
}

func (w *witness) flush() error {
	err := w.l.Flush(w.t.Context(), w.end())
	if err == nil {
		w.flushed = w.end()
	}
	return err
}

func (w *witness) background() error {
	err := w.l.flushClosed(w.t.Context())
	if err == nil {
		w.flushed = w.end()
	}
	return errors.Join(err, w.k.m.Checkpoint())
}

func (w *witness) truncate(to int64) error {
	keep := 0
	for keep < len(w.must) && w.must[keep].LastOffset() < to {
		keep++
	}
	err := w.l.Truncate(to)
	switch {
	case err == nil:
		w.must = w.must[:keep:keep]
	case w.l.usable() != nil: // the next start finds a part of it
		w.must, w.may = w.must[:keep:keep], w.must[keep:]
	default:
		return err
	}
	w.flushed = min(w.flushed, w.end())
	w.hw = min(w.hw, w.end())
	return err
}

func (w *witness) retain() error {
	w.hw = w.end() - 1
	w.l.SetHighWatermark(w.hw)
	_, err := w.l.EnforceRetention(w.k.clock.Now())
	w.k.m.env.emptyTrash(farFuture)
	return errors.Join(err, w.k.m.Checkpoint())
}

func (w *witness) read() error {
	batches, err := readRange(w.l, w.l.LocalStartOffset(), w.l.EndOffset())
	if err == nil {
		err = matches(batches, w.must)
	}
	if err != nil {
		return err
	}
	_, _, err = w.l.OffsetForTimestamp(epoch0.UnixMilli() + 100*w.l.LocalStartOffset())
	return err
}

// matches checks that batches are the last ones of want.
func matches(batches, want []record.Batch) error {
	if len(batches) > len(want) {
		return fmt.Errorf("%d batches, want at most %d", len(batches), len(want))
	}
	for i, b := range want[len(want)-len(batches):] {
		if !bytes.Equal(batches[i], b) {
			return fmt.Errorf("batch %d is at offset %d, want %d", i, batches[i].BaseOffset(), b.BaseOffset())
		}
	}
	return nil
}

// checkLive compares the log with what was acknowledged, after the fault is over.
func (w *witness) checkLive() {
	w.t.Helper()
	if err := w.l.usable(); err != nil {
		if !errors.Is(err, ErrStorage) {
			w.t.Fatalf("out of service with %v", err)
		}
		if _, err = w.l.Append(w.batch(w.end(), w.must), 1); !errors.Is(err, ErrStorage) {
			w.t.Fatalf("append to a failed directory: %v", err)
		}
		return
	}
	if w.l.EndOffset() != w.end() {
		w.t.Fatalf("end %d, acknowledged %d", w.l.EndOffset(), w.end())
	}
	if err := w.read(); err != nil {
		w.t.Fatalf("read after the fault: %v", err)
	}
}

// checkRestart opens what a kill or a crash has left and uses it. No batch below durable may be
// missing.
func (w *witness) checkRestart(what string, k *kit, durable int64) {
	w.t.Helper()
	k.open()
	l := k.log()
	start, end := l.LocalStartOffset(), l.EndOffset()
	all := slices.Concat(w.must, w.may)
	if end < durable || end > endOf(all, w.at) || start > max(w.hw, w.at) {
		w.t.Fatalf("%s: log from %d to %d; durable %d, written %d, high watermark %d", what, start, end, durable, endOf(all, w.at), w.hw)
	}
	for len(all) > 0 && endOf(all, 0) > end {
		all = all[:len(all)-1]
	}
	got, err := readRange(l, start, end)
	if err == nil {
		err = matches(got, all)
	}
	if err == nil && len(got) > 0 && got[0].BaseOffset() > start {
		err = fmt.Errorf("log starts at %d, its first batch is at %d", start, got[0].BaseOffset())
	}
	if err == nil {
		err = verifyFiles(l)
	}
	if err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	for _, b := range got {
		at, ok, err := l.OffsetForTimestamp(b.MaxTimestamp())
		if err != nil || !ok || at.Offset != b.BaseOffset() {
			w.t.Fatalf("%s: time of offset %d is found at %+v (%t, %v)", what, b.BaseOffset(), at, ok, err)
		}
	}
	w.checkGoesOn(what, k, l, all)
}

// checkGoesOn appends to what a restart has found. What it flushes then must survive another crash,
// whatever happened before.
func (w *witness) checkGoesOn(what string, k *kit, l *Log, all []record.Batch) {
	w.t.Helper()
	if len(all) > 0 && all[len(all)-1].BaseOffset() >= l.LocalStartOffset() {
		again := bytes.Clone(all[len(all)-1])
		record.Batch(again).SetBaseOffset(0)
		if info := mustAppend(w.t, l, again); !info.Duplicate || info.FirstOffset != all[len(all)-1].BaseOffset() {
			w.t.Fatalf("%s: the last batch again: %+v", what, info)
		}
	}
	next := w.batch(l.EndOffset(), all)
	// Everything is gone, perhaps the producer too.
	if l.LocalStartOffset() == l.EndOffset() {
		next = batchOf(1, 50, epoch0.UnixMilli()+100*l.EndOffset())
	}
	mustAppend(w.t, l, next)
	if err := l.Flush(w.t.Context(), l.EndOffset()); err != nil {
		w.t.Fatalf("%s: %v", what, err)
	}
	crashed := k.on(k.mem().CrashClone(7))
	crashed.open()
	got := readAll(w.t, crashed.log(), crashed.log().LocalStartOffset())
	if len(got) == 0 || !bytes.Equal(got[len(got)-1], next) {
		w.t.Fatalf("%s: what was flushed after the restart is lost in a crash: %d batches to %d", what, len(got), crashed.log().EndOffset())
	}
	for _, k := range []*kit{crashed, k} {
		if err := k.m.Close(); err != nil {
			w.t.Fatalf("%s: %v", what, err)
		}
	}
}

// checkRestarts simulates a kill and several crashes with what is on the disk now.
func (w *witness) checkRestarts() {
	w.t.Helper()
	kept := w.end()
	if w.l.usable() != nil {
		kept = w.flushed // a failed fsync may have lost the rest
	}
	w.checkRestart("kill", w.k.on(w.mem.Clone()), kept)
	for seed := range uint64(2) {
		w.checkRestart(fmt.Sprintf("crash %d", seed), w.k.on(w.mem.CrashClone(seed)), w.flushed)
	}
}
