package storage

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// model is a log as a slice of batches, and what has been promised of it.
type model struct {
	t       *rapid.T
	k       *kit
	l       *Log
	batches []record.Batch // all that are in the log, from offset 0 on
	flushed int64
	epoch   int32
	start   int64
}

func (m *model) end() int64 {
	if len(m.batches) == 0 {
		return 0
	}
	return m.batches[len(m.batches)-1].NextOffset()
}

// from are the batches from the one that holds offset on.
func (m *model) from(offset int64) []record.Batch {
	for i, b := range m.batches {
		if b.LastOffset() >= offset {
			return m.batches[i:]
		}
	}
	return nil
}

func (m *model) append() {
	n := rapid.IntRange(1, 4).Draw(m.t, "batches")
	var buf []byte
	for range n {
		records, size := rapid.IntRange(1, 5).Draw(m.t, "records"), rapid.IntRange(0, 80).Draw(m.t, "size")
		ts := epoch0.UnixMilli() + int64(rapid.IntRange(-1000, 1000).Draw(m.t, "ts"))
		buf = append(buf, batchOf(records, size, ts)...)
	}
	info, err := m.l.Append(buf, m.epoch)
	if err != nil {
		m.t.Fatal(err)
	}
	if info.FirstOffset != m.end() {
		m.t.Fatalf("appended at %d, end was %d", info.FirstOffset, m.end())
	}
	m.remember(buf)
}

func (m *model) remember(buf []byte) {
	for b := range eachBatch(bytes.Clone(buf)) {
		m.batches = append(m.batches, b)
	}
}

// follow appends as a follower does: offsets given, gaps allowed, a cut tail.
func (m *model) follow() {
	b := batchOf(rapid.IntRange(1, 5).Draw(m.t, "records"), 10, epoch0.UnixMilli())
	b.SetBaseOffset(m.end() + int64(rapid.IntRange(0, 2).Draw(m.t, "gap")))
	b.SetLeaderEpoch(m.epoch)
	tail := batchOf(1, 50, 0)[:rapid.IntRange(0, 61).Draw(m.t, "tail")]
	if _, err := m.l.AppendAsFollower(append(bytes.Clone(b), tail...)); err != nil {
		m.t.Fatal(err)
	}
	m.remember(b)
}

func (m *model) read() {
	offset := rapid.Int64Range(0, m.end()+2).Draw(m.t, "offset")
	limit := rapid.Int64Range(0, m.end()+2).Draw(m.t, "limit")
	maxBytes := rapid.IntRange(0, 2000).Draw(m.t, "max")
	minOne := rapid.Bool().Draw(m.t, "minOne")
	s, err := m.l.Read(offset, maxBytes, limit, minOne)
	if offset < m.l.LocalStartOffset() || offset > m.end() {
		if !errors.Is(err, ErrOffsetOutOfRange) {
			m.t.Fatalf("read at %d of %d to %d: %v", offset, m.l.LocalStartOffset(), m.end(), err)
		}
		return
	}
	if err != nil {
		m.t.Fatal(err)
	}
	got, err := s.AppendTo(nil)
	s.Release()
	if err != nil {
		m.t.Fatal(err)
	}
	var allowed []byte
	candidates := m.from(offset)
	for _, b := range candidates {
		if b.LastOffset() >= limit {
			break
		}
		allowed = append(allowed, b...)
	}
	if !bytes.HasPrefix(allowed, got) {
		m.t.Fatalf("read at %d below %d: %d bytes that are no prefix of the %d allowed", offset, limit, len(got), len(allowed))
	}
	if len(allowed) == 0 || offset >= limit {
		if len(got) > 0 {
			m.t.Fatalf("read at %d below %d: got %d bytes, want none", offset, limit, len(got))
		}
		return
	}
	first := len(candidates[0])
	switch {
	case len(got) > max(maxBytes, first):
		m.t.Fatalf("read of at most %d bytes gave %d, the first batch has %d", maxBytes, len(got), first)
	case minOne && len(got) < first:
		m.t.Fatalf("the first batch has %d bytes, got %d", first, len(got))
	case !minOne && first > maxBytes && len(got) > 0:
		m.t.Fatalf("the first batch has %d bytes, got %d of at most %d", first, len(got), maxBytes)
	case first <= maxBytes && len(got) == 0:
		m.t.Fatalf("got nothing of %d bytes, at most %d", len(allowed), maxBytes)
	}
}

func (m *model) truncate() {
	to := rapid.Int64Range(m.l.LocalStartOffset(), m.end()).Draw(m.t, "to")
	if err := m.l.Truncate(to); err != nil {
		m.t.Fatal(err)
	}
	kept := m.batches[:0:0]
	for _, b := range m.batches {
		if b.LastOffset() < to {
			kept = append(kept, b)
		}
	}
	m.batches = kept
	// A batch that held the offset is gone as a whole; a gap before it stays.
	if end := m.l.EndOffset(); end > to || end < m.end() {
		m.t.Fatalf("end is %d after truncation to %d", end, to)
	}
	m.flushed = min(m.flushed, m.end()) // a gap at the end is nowhere on disk
	m.padTo(m.l.EndOffset())
}

// padTo notes a gap at the end by moving on to the next epoch's batch.
func (m *model) padTo(end int64) {
	if m.end() < end {
		b := batchOf(1, 0, epoch0.UnixMilli())
		b.SetBaseOffset(end)
		b.SetLeaderEpoch(m.epoch)
		if _, err := m.l.AppendAsFollower(b); err != nil {
			m.t.Fatal(err)
		}
		m.remember(b)
	}
}

func (m *model) retain() {
	m.l.SetHighWatermark(rapid.Int64Range(0, m.end()).Draw(m.t, "hw"))
	hw := m.l.HighWatermark()
	m.k.clock.advance(time.Duration(rapid.IntRange(0, 2000).Draw(m.t, "ms")) * time.Millisecond)
	if _, err := m.l.EnforceRetention(m.k.clock.Now()); err != nil {
		m.t.Fatal(err)
	}
	if m.l.LocalStartOffset() > hw || m.l.EndOffset() != m.end() {
		m.t.Fatalf("local start %d, high watermark %d, end %d, want %d", m.l.LocalStartOffset(), hw, m.l.EndOffset(), m.end())
	}
	if err := m.k.m.Checkpoint(); err != nil { // as Run does soon
		m.t.Fatal(err)
	}
	m.start = max(m.start, m.l.StartOffset())
}

func (m *model) deleteRecords() {
	commit(m.l)
	to := rapid.Int64Range(0, m.end()).Draw(m.t, "to")
	if err := m.l.AdvanceStartOffset(to); err != nil {
		m.t.Fatal(err)
	}
	if err := m.k.m.Checkpoint(); err != nil {
		m.t.Fatal(err)
	}
	m.start = max(m.start, to)
}

func (m *model) flush() {
	if err := m.l.Flush(m.t.Context(), m.end()); err != nil {
		m.t.Fatal(err)
	}
	m.flushed = m.end()
}

func (m *model) flushBackground() {
	if err := m.l.flushClosed(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	m.flushed = m.end()
	if err := m.k.m.Checkpoint(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) reopen() {
	hw := m.l.HighWatermark()
	m.k.reopen()
	m.l = m.k.log()
	if m.l.EndOffset() != m.end() || m.l.HighWatermark() != hw {
		m.t.Fatalf("end %d, want %d; high watermark %d, want %d", m.l.EndOffset(), m.end(), m.l.HighWatermark(), hw)
	}
}

func (m *model) kill() {
	old := m.k.m
	m.k = m.k.killed()
	_ = old.Close() // its file system is of no interest any more
	m.l = m.k.log()
	if m.l.EndOffset() != m.end() {
		m.t.Fatalf("end %d after a kill, want %d", m.l.EndOffset(), m.end())
	}
}

func (m *model) crash() {
	old := m.k.m
	m.k = m.k.crashed(rapid.Uint64().Draw(m.t, "seed"))
	_ = old.Close() // its file system is of no interest any more
	m.l = m.k.log()
	end := m.l.EndOffset()
	if end < m.flushed || end > m.end() {
		m.t.Fatalf("end %d after a crash, flushed %d, written %d", end, m.flushed, m.end())
	}
	kept := m.batches[:0:0]
	for _, b := range m.batches {
		if b.NextOffset() <= end {
			kept = append(kept, b)
		}
	}
	m.batches = kept
	if end == 0 { // the directory was lost, as nothing had been flushed
		m.start = 0
	}
	m.padTo(end)
}

// check holds the whole log against the model.
func (m *model) check() {
	if m.l.EndOffset() != m.end() {
		m.t.Fatalf("end %d, want %d", m.l.EndOffset(), m.end())
	}
	start := m.l.LocalStartOffset()
	if m.l.StartOffset() < m.start {
		m.t.Fatalf("log start %d went back behind %d", m.l.StartOffset(), m.start)
	}
	got, err := readRange(m.l, start, m.end())
	if err != nil {
		m.t.Fatal(err)
	}
	want := m.from(start)
	if start == m.end() {
		want = nil
	}
	if len(got) != len(want) {
		m.t.Fatalf("%d batches from %d on, want %d", len(got), start, len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			m.t.Fatalf("batch %d is at %d, want %d", i, got[i].BaseOffset(), want[i].BaseOffset())
		}
	}
	m.checkTimes(start)
	if err = verifyFiles(m.l); err != nil {
		m.t.Fatal(err)
	}
	for _, b := range want {
		if epoch, end := m.l.EndOffsetForEpoch(b.LeaderEpoch()); epoch != b.LeaderEpoch() || end <= b.BaseOffset() {
			m.t.Fatalf("epoch %d of batch %d ends at %d (found %d), entries %v", b.LeaderEpoch(), b.BaseOffset(), end, epoch, m.l.EpochEntries())
		}
	}
}

func (m *model) checkTimes(start int64) {
	ts := epoch0.UnixMilli() + int64(rapid.IntRange(-1100, 1100).Draw(m.t, "lookup"))
	var want, largest TimestampOffset
	found := false
	largest.Timestamp = -1
	for _, b := range m.from(start) {
		for r, err := range b.Records() {
			if err != nil {
				m.t.Fatal(err)
			}
			if r.Offset < start {
				continue
			}
			if at := (TimestampOffset{r.Offset, r.Timestamp, b.LeaderEpoch()}); !found && r.Timestamp >= ts {
				want, found = at, true
			}
			if r.Timestamp > largest.Timestamp {
				largest = TimestampOffset{r.Offset, r.Timestamp, b.LeaderEpoch()}
			}
		}
	}
	got, ok, err := m.l.OffsetForTimestamp(ts)
	if err != nil || ok != found || got != want {
		m.t.Fatalf("offset for %d is %+v (%t, %v), want %+v (%t)", ts, got, ok, err, want, found)
	}
	got, ok, err = m.l.MaxTimestamp()
	if err != nil || ok != (largest.Timestamp >= 0) || (ok && got != largest) {
		m.t.Fatalf("max timestamp is %+v (%t, %v), want %+v", got, ok, err, largest)
	}
}

// verifyFiles makes the checks of kafka-dump-log on the files of every segment.
func verifyFiles(l *Log) error {
	list := l.list()
	for i, s := range list {
		if s.size.Load() == 0 {
			continue
		}
		byEnd, byPos := map[int64]record.Batch{}, map[int64]record.Batch{}
		err := s.scan(0, s.size.Load(), func(h record.Batch, pos int64) (bool, error) {
			b := record.Batch(bytes.Clone(h))
			byEnd[h.LastOffset()], byPos[pos] = b, b
			return true, nil
		})
		if err != nil {
			return err
		}
		last := int64(-1)
		for k := range s.index.count() {
			e, err := s.index.entry(k)
			if err != nil {
				return err
			}
			offset, pos := s.base+relativeOffset(e[:]), entryPosition(e[:])
			if b, ok := byPos[pos]; !ok || b.LastOffset() != offset || offset <= last {
				return fmt.Errorf("segment %d: index entry %d: offset %d at %d", s.base, k, offset, pos)
			}
			last = offset
		}
		newest := int64(-1)
		for k := range s.times.count() {
			raw, err := s.times.entry(k)
			if err != nil {
				return err
			}
			e := timeEntry(raw[:], s.base)
			if b, ok := byEnd[e.Offset]; !ok || b.MaxTimestamp() != e.Timestamp || e.Timestamp <= newest {
				return fmt.Errorf("segment %d: time index entry %d: %+v", s.base, k, e)
			}
			newest = e.Timestamp
		}
		if i == len(list)-1 {
			continue
		}
		for _, b := range byPos {
			if newestIn(b) > newest {
				return fmt.Errorf("segment %d: last time index entry is %d, a batch has %d", s.base, newest, b.MaxTimestamp())
			}
		}
	}
	return nil
}

// entry is the i-th entry of an index.
func (x *sparseIndex) entry(i int) (e indexEntry, err error) {
	t := x.tail.Load()
	if i < t.base {
		return e, x.readFile(e[:x.width], i)
	}
	copy(e[:], t.buf[(i-t.base)*x.width:(i-t.base+1)*x.width])
	return e, nil
}

func TestLogIsASliceOfBatches(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		k := newKit(t, vfs.NewMem(), func(c *Config) {
			c.SegmentBytes = int64(rapid.SampledFrom([]int{2500, 4000, 8000}).Draw(rt, "segment"))
			c.SegmentMs = 1500
			c.IndexIntervalBytes = int64(rapid.SampledFrom([]int{0, 150, 1000}).Draw(rt, "interval"))
			c.RetentionBytes = 12000
			c.RetentionMs = 10_000
			c.FileDeleteDelayMs = 100
		})
		k.options.MaxOpenFiles = 4
		m := &model{t: rt, k: k, l: k.log(), epoch: 1}
		defer func() { _ = m.k.m.Close() }()
		step := func(f func()) func(*rapid.T) {
			return func(rt *rapid.T) { m.t = rt; f() }
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append":     step(m.append),
			"append2":    step(m.append),
			"follow":     step(m.follow),
			"read":       step(m.read),
			"truncate":   step(m.truncate),
			"retain":     step(m.retain),
			"deleteTo":   step(m.deleteRecords),
			"flush":      step(m.flush),
			"background": step(m.flushBackground),
			"reopen":     step(m.reopen),
			"kill":       step(m.kill),
			"crash":      step(m.crash),
			"epoch":      step(func() { m.epoch++ }),
			"trash":      step(func() { k.m.env.emptyTrash(k.clock.Now()) }),
			"roll": step(func() {
				if err := m.l.Roll(); err != nil {
					m.t.Fatal(err)
				}
			}),
			"": step(m.check),
		})
	})
}
