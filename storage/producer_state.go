package storage

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/varvelog/varve/record"
)

// rememberedBatches is the number of a producer's newest batches that are recognized when a client
// sends them again. Clients have at most that many in flight.
const rememberedBatches = 5

// batchMeta is the remembered part of a batch.
type batchMeta struct {
	lastSequence int32
	offsetDelta  int32 // last offset - first offset
	lastOffset   int64
	timestamp    int64 // largest, in ms
}

func (m batchMeta) firstSequence() int32 {
	return int32((int64(m.lastSequence) - int64(m.offsetDelta)) & math.MaxInt32)
}

func (m batchMeta) firstOffset() int64 { return m.lastOffset - int64(m.offsetDelta) }

// producerEntry is the state of an idempotent producer in a log.
type producerEntry struct {
	batches          [rememberedBatches]batchMeta // oldest first
	n                int                          // valid batches
	epoch            int16
	coordinatorEpoch int32
	// appended is when the newest batch or marker was appended, in ms by this broker's clock.
	appended       int64
	txnFirstOffset int64 // of the open transaction; -1: none
}

func newProducerEntry() *producerEntry {
	return &producerEntry{epoch: record.NoProducerEpoch, coordinatorEpoch: -1, appended: record.NoTimestamp, txnFirstOffset: -1}
}

// push adds a batch and forgets the oldest one if there are too many.
func (e *producerEntry) push(m batchMeta) {
	if e.n == rememberedBatches {
		copy(e.batches[:], e.batches[1:])
		e.n--
	}
	e.batches[e.n] = m
	e.n++
}

// newest returns the newest batch, or one without sequence and offset if there is none.
func (e *producerEntry) newest() batchMeta {
	if e.n == 0 {
		return batchMeta{lastSequence: record.NoSequence, lastOffset: -1, timestamp: record.NoTimestamp}
	}
	return e.batches[e.n-1]
}

// duplicate returns the remembered batch with b's epoch and sequences, if b repeats one.
func (e *producerEntry) duplicate(b record.Batch) (batchMeta, bool) {
	if e.epoch != b.ProducerEpoch() {
		return batchMeta{}, false
	}
	for _, m := range e.batches[:e.n] {
		if m.firstSequence() == b.BaseSequence() && m.lastSequence == b.LastSequence() {
			return m, true
		}
	}
	return batchMeta{}, false
}

// openTxn is a transaction without a marker.
type openTxn struct {
	producerID  int64
	firstOffset int64
}

// completedTxn is a transaction whose marker is in the log.
type completedTxn struct {
	producerID  int64
	firstOffset int64
	lastOffset  int64 // offset of the marker
	aborted     bool
}

// producerState is the idempotence and transaction state that follows from a log's batches. Log.mu
// guards it. Log.stable guards unreplicated instead, and open in addition: open changes under both.
type producerState struct {
	producers map[int64]*producerEntry
	// open are the transactions without a marker, the oldest first.
	open []openTxn
	// unreplicated are completed transactions whose marker was not below the high watermark at the
	// last look: they still hold back the last stable offset.
	unreplicated []completedTxn
}

// sequence is a producer's epoch and last sequence after earlier batches of the same append.
type sequence struct {
	epoch int16
	last  int32
}

// check decides whether a client's batch may be appended. pending has the state of producers with
// earlier batches in the same append. A duplicate of a remembered batch is no error.
func (p *producerState) check(b record.Batch, pending map[int64]sequence) (dup batchMeta, isDup bool, err error) {
	id, epoch := b.ProducerID(), b.ProducerEpoch()
	entry := p.producers[id]
	prev, inCall := pending[id]
	switch {
	case inCall:
	case entry == nil:
		// Unknown: the producer is new, or its state has expired.
		return dup, false, nil
	default:
		if dup, isDup = entry.duplicate(b); isDup {
			return dup, true, nil
		}
		prev = sequence{epoch: entry.epoch, last: entry.newest().lastSequence}
	}
	switch {
	case epoch < prev.epoch:
		return dup, false, fmt.Errorf("%w: producer %d sent epoch %d, the log has %d", ErrInvalidProducerEpoch, id, epoch, prev.epoch)
	case prev.epoch == record.NoProducerEpoch:
		return dup, false, nil
	case epoch > prev.epoch && b.BaseSequence() != 0:
		return dup, false, fmt.Errorf("%w: producer %d begins epoch %d with sequence %d", ErrOutOfOrderSequence, id, epoch, b.BaseSequence())
	case epoch == prev.epoch && !follows(prev.last, b.BaseSequence()):
		return dup, false, fmt.Errorf("%w: producer %d epoch %d sent sequence %d after %d",
			ErrOutOfOrderSequence, id, epoch, b.BaseSequence(), prev.last)
	}
	if entry != nil && entry.txnFirstOffset >= 0 && !b.IsTransactional() && epoch == entry.epoch {
		return dup, false, fmt.Errorf("%w: producer %d", ErrInvalidTxnState, id)
	}
	return dup, false, nil
}

// follows reports whether a sequence number directly follows another. Sequences wrap from the
// largest int32 to 0, and the first one of an epoch is 0.
func follows(last, next int32) bool {
	return int64(next) == int64(last)+1 || next == 0 && last == math.MaxInt32
}

// apply enters a batch of any origin that was appended at time at, in ms. If the batch is a marker
// it returns the transaction that the marker ended.
func (p *producerState) apply(b record.Batch, at int64) (done completedTxn, ended bool, err error) {
	if !b.HasProducer() {
		return done, false, nil
	}
	if b.IsControl() {
		return p.applyMarker(b, at)
	}
	e := p.entry(b.ProducerID())
	if e.epoch != b.ProducerEpoch() {
		e.epoch, e.n = b.ProducerEpoch(), 0
	}
	if b.BaseSequence() != record.NoSequence {
		e.push(batchMeta{
			lastSequence: b.LastSequence(), offsetDelta: b.LastOffsetDelta(),
			lastOffset: b.LastOffset(), timestamp: b.MaxTimestamp(),
		})
	}
	e.appended = max(e.appended, at)
	if b.IsTransactional() && e.txnFirstOffset < 0 {
		e.txnFirstOffset = b.BaseOffset()
		p.open = append(p.open, openTxn{b.ProducerID(), b.BaseOffset()})
	}
	return done, false, nil
}

// applyMarker enters a control batch. Control records that do not end a transaction are ignored.
func (p *producerState) applyMarker(b record.Batch, at int64) (done completedTxn, ended bool, err error) {
	for r, err := range b.Records() {
		if err != nil {
			return done, false, fmt.Errorf("read control batch at offset %d: %w", b.BaseOffset(), err)
		}
		kind, err := record.ParseControlKey(r.Key)
		if err != nil {
			return done, false, err
		}
		if kind != record.ControlAbort && kind != record.ControlCommit {
			return done, false, nil
		}
		coordinator, err := record.ParseEndTxnMarker(r.Value)
		if err != nil {
			return done, false, err
		}
		e := p.entry(b.ProducerID())
		if e.txnFirstOffset >= 0 {
			ended = true
			done = completedTxn{
				producerID: b.ProducerID(), firstOffset: e.txnFirstOffset,
				lastOffset: r.Offset, aborted: kind == record.ControlAbort,
			}
			p.unreplicated = append(p.unreplicated, done)
			p.open = slices.DeleteFunc(p.open, func(t openTxn) bool { return t.producerID == b.ProducerID() })
		}
		if e.epoch != b.ProducerEpoch() {
			e.epoch, e.n = b.ProducerEpoch(), 0
		}
		e.txnFirstOffset = -1
		e.coordinatorEpoch = coordinator
		e.appended = max(e.appended, at)
		break // a control batch has one record
	}
	return done, ended, nil
}

// entry returns the state of a producer, and creates it if necessary.
func (p *producerState) entry(id int64) *producerEntry {
	e := p.producers[id]
	if e == nil {
		if p.producers == nil {
			p.producers = map[int64]*producerEntry{}
		}
		e = newProducerEntry()
		p.producers[id] = e
	}
	return e
}

// firstUnstable returns the first offset of all transactions that are open or whose marker is at or
// above the high watermark; -1 if there is none. It forgets the completed ones below. Log.stable is
// held.
func (p *producerState) firstUnstable(highWatermark int64) int64 {
	if len(p.open)+len(p.unreplicated) == 0 {
		return -1
	}
	p.unreplicated = slices.DeleteFunc(p.unreplicated, func(t completedTxn) bool { return t.lastOffset < highWatermark })
	first := p.firstOpen()
	for _, t := range p.unreplicated {
		if first < 0 || t.firstOffset < first {
			first = t.firstOffset
		}
	}
	return first
}

// firstOpen returns the first offset of the oldest open transaction; -1 if there is none.
func (p *producerState) firstOpen() int64 {
	if len(p.open) == 0 {
		return -1
	}
	return p.open[0].firstOffset
}

// stableAfter returns the last stable offset after the marker of done is committed.
func (p *producerState) stableAfter(done completedTxn) int64 {
	if first := p.firstOpen(); first >= 0 {
		return first
	}
	return done.lastOffset + 1
}

// restore replaces the state with that of a snapshot. A snapshot has no completed transactions:
// after a restart those before it count as replicated, as in Kafka.
func (p *producerState) restore(producers map[int64]*producerEntry) {
	*p = producerState{producers: producers}
	for id, e := range producers {
		if e.txnFirstOffset >= 0 {
			p.open = append(p.open, openTxn{id, e.txnFirstOffset})
		}
	}
	slices.SortFunc(p.open, func(a, b openTxn) int { return cmp.Compare(a.firstOffset, b.firstOffset) })
}

// expire forgets producers that were idle for longer than after and have no open transaction. The
// broker's clock decides: a producer that copies old records is not idle.
func (p *producerState) expire(now time.Time, after time.Duration) {
	limit := now.Add(-after).UnixMilli()
	maps.DeleteFunc(p.producers, func(_ int64, e *producerEntry) bool {
		return e.txnFirstOffset < 0 && e.appended < limit
	})
}

func sortedProducers(producers map[int64]*producerEntry) []int64 {
	return slices.Sorted(maps.Keys(producers))
}
