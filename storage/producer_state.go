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

// rememberedBatches is how many batches of a producer can be recognised when
// they come again; clients have at most so many in flight.
const rememberedBatches = 5

// batchMeta is what is remembered of a batch.
type batchMeta struct {
	lastSequence int32
	offsetDelta  int32
	lastOffset   int64
	timestamp    int64
}

func (m batchMeta) firstSequence() int32 {
	return int32((int64(m.lastSequence) - int64(m.offsetDelta)) & math.MaxInt32)
}

func (m batchMeta) firstOffset() int64 { return m.lastOffset - int64(m.offsetDelta) }

// producerEntry is what a log knows of an idempotent producer.
type producerEntry struct {
	batches          [rememberedBatches]batchMeta // the oldest first
	n                int
	epoch            int16
	coordinatorEpoch int32
	appended         int64 // when the newest batch or marker was, by this broker's clock, in ms
	txnFirstOffset   int64 // of the open transaction, -1 none
}

func newProducerEntry() *producerEntry {
	return &producerEntry{epoch: record.NoProducerEpoch, coordinatorEpoch: -1, appended: record.NoTimestamp, txnFirstOffset: -1}
}

func (e *producerEntry) push(m batchMeta) {
	if e.n == rememberedBatches {
		copy(e.batches[:], e.batches[1:])
		e.n--
	}
	e.batches[e.n] = m
	e.n++
}

// newest is the newest batch, or one without sequence and offset.
func (e *producerEntry) newest() batchMeta {
	if e.n == 0 {
		return batchMeta{lastSequence: record.NoSequence, lastOffset: -1, timestamp: record.NoTimestamp}
	}
	return e.batches[e.n-1]
}

// duplicate finds the batch that b repeats.
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
	lastOffset  int64 // of the marker
	aborted     bool
}

// producerState is the idempotence and transaction state that follows from a
// log's batches. The log's lock guards it, and Log.stable what it says of open and
// unreplicated.
type producerState struct {
	producers map[int64]*producerEntry
	// open are the transactions without a marker yet, the oldest first.
	open []openTxn
	// unreplicated are completed transactions whose marker is not below the
	// high watermark yet: they still hold the last stable offset back.
	unreplicated []completedTxn
}

// sequence is what check assumes of a producer that has several batches in one append.
type sequence struct {
	epoch int16
	last  int32
}

// check decides whether a client's batch may be appended. pending holds what
// earlier batches of the same append leave behind.
func (p *producerState) check(b record.Batch, pending map[int64]sequence) (dup batchMeta, isDup bool, err error) {
	id, epoch := b.ProducerID(), b.ProducerEpoch()
	entry := p.producers[id]
	prev, inCall := pending[id]
	switch {
	case inCall:
	case entry == nil:
		// Nothing is known: the producer is new, or what it wrote has expired.
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

// follows says whether a sequence number comes right after another; they wrap
// from the largest int32 to 0. The first one of an epoch is 0.
func follows(last, next int32) bool {
	return int64(next) == int64(last)+1 || next == 0 && last == math.MaxInt32
}

// apply enters a batch of any origin that was appended to the log at at, in ms. It returns the transaction that a marker ended.
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

// applyMarker enters a control batch. Other control records than the two that
// end a transaction mean nothing here.
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

// firstUnstable is the first offset of a transaction that is open, or that
// ended at or above the high watermark; -1 if there is none.
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

// firstOpen is the first offset of the oldest open transaction, -1 if none.
func (p *producerState) firstOpen() int64 {
	if len(p.open) == 0 {
		return -1
	}
	return p.open[0].firstOffset
}

// stableAfter is the last stable offset once the transaction is decided.
func (p *producerState) stableAfter(done completedTxn) int64 {
	if first := p.firstOpen(); first >= 0 {
		return first
	}
	return done.lastOffset + 1
}

// restore replaces the state by that of a snapshot.
func (p *producerState) restore(producers map[int64]*producerEntry) {
	*p = producerState{producers: producers}
	for id, e := range producers {
		if e.txnFirstOffset >= 0 {
			p.open = append(p.open, openTxn{id, e.txnFirstOffset})
		}
	}
	slices.SortFunc(p.open, func(a, b openTxn) int { return cmp.Compare(a.firstOffset, b.firstOffset) })
}

// expire forgets producers that were silent for long and have no open transaction.
// It is the broker's clock that counts: one that copies old records is not silent.
func (p *producerState) expire(now time.Time, after time.Duration) {
	limit := now.Add(-after).UnixMilli()
	maps.DeleteFunc(p.producers, func(_ int64, e *producerEntry) bool {
		return e.txnFirstOffset < 0 && e.appended < limit
	})
}

func sortedProducers(producers map[int64]*producerEntry) []int64 {
	return slices.Sorted(maps.Keys(producers))
}
