package storage

import (
	"bytes"
	"errors"
	"time"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/record"
)

// append appends a few batches as the leader, with and without a producer.
func (m *model) append() {
	n := rapid.IntRange(1, 4).Draw(m.t, "batches")
	var buf []byte
	pending := map[int64]sequence{}
	for range n {
		records, size := rapid.IntRange(1, 5).Draw(m.t, "records"), rapid.IntRange(0, 80).Draw(m.t, "size")
		ts := epoch0.UnixMilli() + int64(rapid.IntRange(-1000, 1000).Draw(m.t, "ts"))
		id := int64(rapid.IntRange(0, modelProducers).Draw(m.t, "producer"))
		if id == 0 {
			buf = append(buf, batchOf(records, size, ts)...)
			continue
		}
		s, has := pending[id]
		if !has {
			s = m.sequence(id)
		}
		b := batchOf(records, size, ts, producer(id, s.epoch, s.last+1))
		pending[id] = sequence{s.epoch, b.LastSequence()}
		buf = append(buf, b...)
	}
	durable := m.l.FlushedOffset()
	info, err := m.l.Append(buf, m.epoch)
	if err != nil {
		m.t.Fatal(err)
	}
	if info.FirstOffset != m.end() || info.Duplicate {
		m.t.Fatalf("appended at %+v, end was %d", info, m.end())
	}
	m.remember(buf)
	if want := m.end()-durable >= m.cfg.FlushMessages; info.NeedsFlush != want {
		m.t.Fatalf("needs a flush %t, want %t: %d to %d", info.NeedsFlush, want, durable, m.end())
	}
	if info.NeedsFlush {
		m.flush()
	}
}

// sequence returns the last sequence that a producer has sent. If the batches of a producer are
// gone, the log may or may not remember it; the producer then begins a new epoch.
func (m *model) sequence(id int64) sequence {
	if b, ok := m.newest(id); ok {
		return sequence{b.ProducerEpoch(), b.LastSequence()}
	}
	m.producerEpochs[id]++
	return sequence{m.producerEpochs[id], record.NoSequence}
}

// again repeats a producer's newest batch, then sends one with a gap before it.
func (m *model) again() {
	id := int64(rapid.IntRange(1, modelProducers).Draw(m.t, "producer"))
	newest, ok := m.newest(id)
	if !ok {
		return
	}
	b := record.Batch(bytes.Clone(newest))
	b.SetBaseOffset(0)
	info, err := m.l.Append(b, m.epoch)
	if err != nil || !info.Duplicate || info.FirstOffset != newest.BaseOffset() || info.LastOffset != newest.LastOffset() {
		m.t.Fatalf("batch at %d again: %+v, %v", newest.BaseOffset(), info, err)
	}
	gap := batchOf(1, 1, epoch0.UnixMilli(), producer(id, newest.ProducerEpoch(), newest.LastSequence()+2))
	if _, err = m.l.Append(gap, m.epoch); !errors.Is(err, ErrOutOfOrderSequence) {
		m.t.Fatalf("a batch was left out: %v", err)
	}
}

// transact continues a transaction as a follower: with another batch, or with its marker.
func (m *model) transact() {
	id := modelTxnProducers + int64(rapid.IntRange(0, 1).Draw(m.t, "producer"))
	open := false
	for _, t := range m.txns() {
		open = open || (t.id == id && t.last < 0)
	}
	b := txnBatch(m.end(), id, int32(len(m.batches)))
	if open {
		switch rapid.IntRange(0, 2).Draw(m.t, "marker") {
		case 0:
			b = marker(m.end(), id, record.ControlAbort)
		case 1:
			b = marker(m.end(), id, record.ControlCommit)
		}
	}
	b.SetLeaderEpoch(m.epoch)
	if _, err := m.l.AppendAsFollower(b); err != nil {
		m.t.Fatal(err)
	}
	m.remember(b)
}

// drawConfig draws settings; they change while a log lives.
func (m *model) drawConfig() {
	m.cfg.SegmentBytes = int64(rapid.SampledFrom([]int{2500, 4000, 8000}).Draw(m.t, "segment"))
	m.cfg.IndexIntervalBytes = int64(rapid.SampledFrom([]int{0, 150, 1000}).Draw(m.t, "interval"))
	m.cfg.FlushMessages = int64(rapid.SampledFrom([]int{1, 7, 1 << 40}).Draw(m.t, "flush.messages"))
}

func (m *model) configure() {
	m.drawConfig()
	m.l.SetConfig(m.cfg)
}

// truncateFully drops everything and restarts the log at or above its end.
func (m *model) truncateFully() {
	if rapid.IntRange(0, 3).Draw(m.t, "seldom") > 0 {
		return
	}
	at := m.end() + int64(rapid.IntRange(0, 5).Draw(m.t, "at"))
	if err := m.l.TruncateFully(at); err != nil {
		m.t.Fatal(err)
	}
	if m.l.StartOffset() != at || m.l.EndOffset() != at || m.l.HighWatermark() != at {
		m.t.Fatalf("log from %d to %d, high watermark %d, want %d", m.l.StartOffset(), m.l.EndOffset(), m.l.HighWatermark(), at)
	}
	if err := m.k.m.Checkpoint(); err != nil {
		m.t.Fatal(err)
	}
	m.batches, m.start = nil, at
	m.flushed = 0
	b := batchOf(1, 0, epoch0.UnixMilli())
	if info, err := m.l.Append(b, m.epoch); err != nil || info.FirstOffset != at {
		m.t.Fatalf("first batch at %+v, %v", info, err)
	}
	m.remember(b)
}

func (m *model) remember(buf []byte) {
	for b := range eachBatch(bytes.Clone(buf)) {
		m.batches = append(m.batches, b)
	}
}

// follow appends as a follower: with given offsets, with gaps, and with a tail that is cut off.
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

func (m *model) truncate() {
	to := rapid.Int64Range(m.l.LocalStartOffset(), m.end()).Draw(m.t, "to")
	if err := m.l.TruncateCommitted(to); err != nil {
		m.t.Fatal(err)
	}
	kept := m.batches[:0:0]
	for _, b := range m.batches {
		if b.LastOffset() < to {
			kept = append(kept, b)
		}
	}
	m.batches = kept
	// A batch that contains the offset is dropped as a whole, and so is a gap before it.
	if end := m.l.EndOffset(); end > to || end < m.end() {
		m.t.Fatalf("end is %d after truncation to %d", end, to)
	}
	m.flushed = min(m.flushed, m.end()) // no file records a gap at the end
	m.padTo(m.l.EndOffset())
}

// padTo fills a gap at the end with a batch, because the model has no other way to show the gap.
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
	if err := m.k.m.Checkpoint(); err != nil { // Run does this soon after
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
	_ = old.Close() // nothing reads its file system any more
	m.l = m.k.log()
	if m.l.EndOffset() != m.end() {
		m.t.Fatalf("end %d after a kill, want %d", m.l.EndOffset(), m.end())
	}
}

func (m *model) crash() {
	old := m.k.m
	m.k = m.k.crashed(rapid.Uint64().Draw(m.t, "seed"))
	_ = old.Close() // nothing reads its file system any more
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
	if end == 0 { // the directory was lost, because nothing had been flushed
		m.start = 0
	}
	m.padTo(end)
}

// move moves the log to the other directory.
func (m *model) move() {
	m.k.move(m.t, m.l)
	m.flushed = m.end()
}
