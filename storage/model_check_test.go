package storage

import (
	"bytes"
	"errors"
	"slices"

	"pgregory.net/rapid"
)

// check compares the whole log with the model.
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
	m.checkProducers()
	m.checkTxns(start)
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

// checkProducers compares the state of every producer that the log must know.
func (m *model) checkProducers() {
	for id := range int64(modelProducers + 1) {
		b, ok := m.newest(id)
		if !ok {
			continue
		}
		e := m.l.producers.producers[id]
		if e == nil || e.epoch != b.ProducerEpoch() || e.newest().lastOffset != b.LastOffset() || e.newest().lastSequence != b.LastSequence() {
			m.t.Fatalf("producer %d is %+v, its last batch is at %d", id, e, b.BaseOffset())
		}
	}
}

// checkTxns compares the last stable offset, and the aborted transactions of a random range. The
// log may have forgotten transactions that began below the local log.
func (m *model) checkTxns(start int64) {
	from := rapid.Int64Range(start, m.end()+1).Draw(m.t, "from")
	upTo := rapid.Int64Range(from, m.end()+2).Draw(m.t, "upTo")
	hw, stable := m.l.HighWatermark(), m.l.LastStableOffset()
	var want []AbortedTxn
	first, settled := hw, true
	forgotten := map[int64]bool{} // ends of transactions that began below the start
	for _, t := range m.txns() {
		switch {
		case t.first < start:
			settled = false
			forgotten[t.last] = true
		case t.last < 0:
			first = min(first, t.first)
		case t.last >= hw: // a restart from a snapshot counts it as committed, like Kafka
			settled = false
		}
		if t.aborted && t.first >= start && t.last >= from && t.first < upTo {
			want = append(want, AbortedTxn{ProducerID: t.id, FirstOffset: t.first, LastOffset: t.last})
		}
	}
	if stable > first || (settled && stable != first) {
		m.t.Fatalf("last stable offset %d, want %d, high watermark %d; transactions %+v", stable, first, hw, m.txns())
	}
	got, err := m.l.AbortedTransactions(from, upTo)
	if err != nil {
		m.t.Fatal(err)
	}
	// Of a transaction that began below the start, recovery knows only the batches that it found.
	// Its entry may therefore begin later.
	got = slices.DeleteFunc(got, func(t AbortedTxn) bool { return t.FirstOffset < start || forgotten[t.LastOffset] })
	for i := range got {
		got[i].LastStableOffset = 0
	}
	slices.SortFunc(want, func(a, b AbortedTxn) int { return int(a.LastOffset - b.LastOffset) })
	if !slices.Equal(got, want) {
		m.t.Fatalf("aborted from %d to %d: %+v, want %+v", from, upTo, got, want)
	}
}

// read compares one read with random bounds.
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
