package storage

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// compactModel is the model of a compacted log: all batches that were ever appended and not
// truncated.
type compactModel struct {
	t       *rapid.T
	k       *kit
	l       *Log
	batches []record.Batch
	flushed int64
	// kept is the end at the last cleaning. No truncation goes below it.
	kept   int64
	values int
}

func (m *compactModel) end() int64 {
	if len(m.batches) == 0 {
		return 0
	}
	return m.batches[len(m.batches)-1].NextOffset()
}

// remains is the state that follows from the model's batches.
type remains struct {
	records   map[int64]string  // every record by its offset
	state     map[string]string // the last value of each key
	open      map[int64]int64   // first offset of each open transaction, by producer
	sequences map[int64]int32   // last sequence number of each producer
}

func (m *compactModel) tell() remains {
	tell := remains{map[int64]string{}, map[string]string{}, map[int64]int64{}, map[int64]int32{}}
	aborted := map[int64]bool{} // base offsets of batches
	inTxn := map[int64][]int64{}
	for _, b := range m.batches {
		id := b.ProducerID()
		switch {
		case b.IsControl():
			for r, err := range b.Records() {
				if err != nil {
					m.t.Fatal(err)
				}
				if kind, _ := record.ParseControlKey(r.Key); kind == record.ControlAbort {
					for _, base := range inTxn[id] {
						aborted[base] = true
					}
				}
			}
			delete(inTxn, id)
			delete(tell.open, id)
		case b.IsTransactional():
			inTxn[id] = append(inTxn[id], b.BaseOffset())
			if _, ok := tell.open[id]; !ok {
				tell.open[id] = b.BaseOffset()
			}
		}
		if b.HasProducer() && !b.IsControl() {
			tell.sequences[id] = b.LastSequence()
		}
	}
	for _, b := range m.batches {
		for r, err := range b.Records() {
			if err != nil {
				m.t.Fatal(err)
			}
			tell.records[r.Offset] = recordText(r)
			switch {
			case b.IsControl() || aborted[b.BaseOffset()] || r.Key == nil:
			case r.Value == nil:
				delete(tell.state, string(r.Key))
			default:
				tell.state[string(r.Key)] = fmt.Sprintf("%d:%s", r.Offset, r.Value)
			}
		}
	}
	return tell
}

func recordText(r record.Record) string {
	return fmt.Sprintf("%q=%q(%t) at %d with %v", r.Key, r.Value, r.Value == nil, r.Timestamp, r.Headers)
}

func (m *compactModel) appendBatch(b record.Batch) {
	b.SetBaseOffset(m.end())
	if _, err := m.l.AppendAsFollower(b); err != nil {
		m.t.Fatal(err)
	}
	m.batches = append(m.batches, b)
}

// append adds a batch without a producer, or of an idempotent or a transactional one.
func (m *compactModel) append() {
	b := record.Builder{Codec: record.Codec(rapid.SampledFrom([]int{0, 0, 1, 2, 3, 4}).Draw(m.t, "codec")), LogAppendTime: rapid.Bool().Draw(m.t, "append time")}
	// Producer 0 means none, 1 is idempotent, 2 and 3 are transactional.
	if id := rapid.Int64Range(0, 3).Draw(m.t, "producer"); id > 0 {
		b.HasProducer, b.ProducerID, b.Transactional = true, id, id > 1
		if last, ok := m.tell().sequences[id]; ok {
			b.BaseSequence = last + 1
		}
	}
	for range rapid.IntRange(1, 4).Draw(m.t, "records") {
		var key, value []byte
		if k := rapid.IntRange(0, 6).Draw(m.t, "key"); k > 0 {
			key = fmt.Append(nil, "k", k)
		}
		if rapid.IntRange(0, 3).Draw(m.t, "tombstone") > 0 {
			m.values++
			value = fmt.Append(nil, m.values)
		}
		b.Append(m.k.clock.Now().UnixMilli()+rapid.Int64Range(-5, 5).Draw(m.t, "ts"), key, value, record.Header{Key: "h", Value: key})
	}
	batch, err := b.Build()
	if err != nil {
		m.t.Fatal(err)
	}
	m.appendBatch(batch)
}

func (m *compactModel) endTxn() {
	for id := range m.tell().open {
		m.appendBatch(endTxn(id, 0, record.ControlType(rapid.IntRange(0, 1).Draw(m.t, "kind"))))
		return
	}
}

// clean commits and flushes everything, and compacts it with a map that may be too small.
func (m *compactModel) clean() {
	commit(m.l)
	if err := m.l.flushClosed(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	m.flushed = m.end()
	want := m.end()
	for _, first := range m.tell().open {
		want = min(want, first)
	}
	if got := m.l.LastStableOffset(); got != want {
		m.t.Fatalf("last stable offset %d, want %d", got, want)
	}
	share := m.k.share()
	share.mapBytes = rapid.Int64Range(2, 12).Draw(m.t, "slots") * mapSlotSize
	if err := m.l.clean(m.t.Context(), share); err != nil {
		m.t.Fatal(err)
	}
	m.kept = m.end()
	if rapid.Bool().Draw(m.t, "note") {
		if err := m.k.m.noteCleaned(m.l); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m *compactModel) checkpoint() {
	if err := m.l.flushClosed(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	m.flushed = m.end()
	if err := m.k.m.Checkpoint(); err != nil {
		m.t.Fatal(err)
	}
}

func (m *compactModel) truncate() {
	to := rapid.Int64Range(m.l.HighWatermark(), m.end()).Draw(m.t, "to")
	if to < m.kept {
		// A crash may leave an older high watermark.
		return
	}
	if err := m.l.TruncateCommitted(to); err != nil {
		m.t.Fatal(err)
	}
	m.keep(func(b record.Batch) bool { return b.LastOffset() < to })
	m.flushed = min(m.flushed, m.end())
}

// keep drops all batches from the first unwanted one on.
func (m *compactModel) keep(wanted func(record.Batch) bool) {
	for i, b := range m.batches {
		if !wanted(b) {
			m.batches = m.batches[:i:i]
			return
		}
	}
}

func (m *compactModel) restart(next *kit) {
	old := m.k.m
	m.k = next
	_ = old.Close() // its file system is not needed any more
	m.l = next.log()
	end := m.l.EndOffset()
	if end < m.flushed || end > m.end() {
		m.t.Fatalf("end %d, flushed %d, written %d", end, m.flushed, m.end())
	}
	m.keep(func(b record.Batch) bool { return b.NextOffset() <= end })
}

func (m *compactModel) check() {
	want := m.tell()
	if m.l.EndOffset() != m.end() {
		m.t.Fatalf("end %d, want %d", m.l.EndOffset(), m.end())
	}
	batches, err := readRange(m.l, 0, m.end())
	if err != nil {
		m.t.Fatal(err)
	}
	next := int64(0)
	for _, b := range batches {
		for r, err := range b.Records() {
			if err != nil {
				m.t.Fatal(err)
			}
			if r.Offset < next || recordText(r) != want.records[r.Offset] {
				m.t.Fatalf("offset %d after %d has %s, want %s", r.Offset, next-1, recordText(r), want.records[r.Offset])
			}
			next = r.Offset + 1
		}
		next = b.NextOffset()
	}
	if got := latest(m.k.t, m.l); !maps.Equal(got, withoutNoKey(got, want.state)) {
		m.t.Fatalf("readers get %v, want %v", got, want.state)
	}
	for id, last := range want.sequences {
		if e := m.l.producers.producers[id]; e == nil || e.newest().lastSequence != last {
			m.t.Fatalf("producer %d is at %+v, want sequence %d", id, e, last)
		}
	}
	if err := verifyFiles(m.l); err != nil {
		m.t.Fatal(err)
	}
}

// withoutNoKey adds to want the value that got has under the empty key: compaction may or may not
// have removed records without a key.
func withoutNoKey(got, want map[string]string) map[string]string {
	want = maps.Clone(want)
	if v, ok := got[""]; ok {
		want[""] = v
	}
	return want
}

// Random histories with crashes, kills and truncations (S8, S9): compaction never changes a record,
// never loses the last one of a key, and keeps the producers' sequences.
func TestCompactedLogKeepsTheLastOfEachKey(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		k := newCompactKit(t, vfs.NewMem(), func(c *Config) {
			c.SegmentBytes = rapid.Int64Range(500, 3000).Draw(rt, "segment")
			c.IndexIntervalBytes = rapid.SampledFrom([]int64{0, 150, 1000}).Draw(rt, "interval")
		})
		k.options.MaxOpenFiles = 4
		m := &compactModel{t: rt, k: k, l: k.log()}
		defer func() { _ = m.k.m.Close() }()
		step := func(f func()) func(*rapid.T) {
			return func(rt *rapid.T) { m.t = rt; f() }
		}
		rt.Repeat(map[string]func(*rapid.T){
			"append": step(m.append), "append2": step(m.append), "append3": step(m.append),
			"end": step(m.endTxn), "end2": step(m.endTxn),
			"clean": step(m.clean), "clean2": step(m.clean),
			"checkpoint": step(m.checkpoint),
			"truncate":   step(m.truncate),
			"time":       step(func() { k.clock.advance(time.Duration(rapid.IntRange(0, 1500).Draw(m.t, "ms")) * time.Millisecond) }),
			"trash":      step(func() { m.k.m.env.emptyTrash(k.clock.Now()) }),
			"crash":      step(func() { m.restart(m.k.crashed(rapid.Uint64().Draw(m.t, "seed"))) }),
			"kill":       step(func() { m.restart(m.k.killed()) }),
			"reopen": step(func() {
				m.k.reopen()
				m.l = m.k.log()
			}),
			"roll": step(func() {
				if err := m.l.Roll(); err != nil {
					m.t.Fatal(err)
				}
			}),
			"": step(m.check),
		})
	})
}
