package tiering

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/format"
)

const (
	// maxTxnIndexBytes bounds the transaction index of a segment that is read into memory: half a
	// million aborted transactions.
	maxTxnIndexBytes = 16 << 20
	// maxAborted bounds how many aborted transactions a look-up returns. One chunk has far fewer:
	// each has a batch there, or is open where the chunk begins.
	maxAborted = 1 << 18
)

// AbortedTransactions lists the aborted transactions that overlap the offsets from (inclusive) to
// upTo (exclusive), in the order of their abort markers (KIP-98), as storage.Log does. It lists
// those whose marker is in the remote tier, below the offset before, where the local log begins. If
// decided is true these are all; otherwise the local log may have markers of others.
//
// A marker may be many segments after its transaction. The look-up continues with later segments
// until an index proves that nothing after it matters. Segments and pages without an aborted
// transaction say so in their entries (KIP-1058) and cost no request.
func (m *Manager) AbortedTransactions(
	ctx context.Context, tp metadata.TopicPartition, from, upTo, before int64,
) (aborted []storage.AbortedTxn, decided bool, err error) {
	ctx, span := m.span(ctx, "look up aborted transactions", tp, from)
	defer func() { endSpan(span, err) }()
	p, current, err := m.current(ctx, tp, before-1)
	if err == nil {
		aborted, decided, err = p.aborted(ctx, current, from, upTo, before)
	}
	if errors.Is(err, objstore.ErrNotFound) {
		if newer := p.newer(ctx, current); newer != nil { // a segment expired during the look-up
			aborted, decided, err = p.aborted(ctx, newer, from, upTo, before)
		}
	}
	if err != nil {
		return nil, false, fmt.Errorf("look up aborted transactions of [%d, %d) in the remote tier of %s: %w", from, upTo, tp, err)
	}
	return aborted, decided, nil
}

func (p *partition) aborted(
	ctx context.Context, m *format.Manifest, from, upTo, before int64,
) (aborted []storage.AbortedTxn, decided bool, err error) {
	if m.EndOffset < before { // nothing is known of the markers between
		return nil, false, fmt.Errorf("%w: the tier ends at offset %d, the local log begins at %d", ErrUnavailable, m.EndOffset, before)
	}
	none := func(r *format.PageRef) bool { return r.Aborted == 0 || r.StartOffset >= before }
	for s, err := range m.Tree(p.loadPage).SegmentsFrom(ctx, from, none) {
		if err != nil {
			return nil, false, err
		}
		if s.StartOffset >= before {
			break
		}
		if s.Aborted == 0 {
			continue
		}
		index, err := p.txnIndex(ctx, s)
		if err != nil {
			return nil, false, err
		}
		for _, t := range index.of(s, before) {
			if t.LastOffset >= from && t.FirstOffset < upTo {
				aborted = append(aborted, t)
			}
			if t.LastStableOffset >= upTo {
				// Transactions that were undecided then, or came later, begin at upTo or after it.
				return aborted, true, nil
			}
		}
		if len(aborted) > maxAborted {
			return nil, false, fmt.Errorf("%w: more than %d transactions were aborted", ErrUnavailable, maxAborted)
		}
	}
	return aborted, false, nil
}

// txnIndex has the aborted transactions of a segment object, in the order of their markers. It is
// shared and read only.
type txnIndex []storage.AbortedTxn

// Cost returns approximately how many bytes of memory the index takes.
func (x txnIndex) Cost() int64 { return 64 + int64(len(x))*32 }

// of returns those whose marker is in the range that the segment serves, below an offset. The
// others are also in the index of another segment, or of the local log.
func (x txnIndex) of(s *format.Segment, before int64) txnIndex {
	end := min(s.EndOffset, before)
	first, last := 0, len(x)
	for first < last && x[first].LastOffset < s.StartOffset {
		first++
	}
	for last > first && x[last-1].LastOffset >= end {
		last--
	}
	return x[first:last]
}

// txnIndex reads the transaction index of a segment that has one.
func (p *partition) txnIndex(ctx context.Context, s *format.Segment) (txnIndex, error) {
	r, err := p.open(ctx, s)
	if err != nil {
		return nil, err
	}
	part, ok := r.index.Part(format.PartTxnIndex)
	if !ok {
		return nil, fmt.Errorf("%w: %s has no transaction index, and %d aborted transactions", ErrCorrupt, r.key, s.Aborted)
	}
	if part.Bytes > maxTxnIndexBytes {
		return nil, fmt.Errorf("%w: the transaction index of %s has %d bytes, at most %d are read", ErrUnavailable, r.key, part.Bytes, maxTxnIndexBytes)
	}
	// The position is after the log's bytes, so it collides with no other index's key.
	at := s.At + part.Position
	return lookUp(ctx, p.m.indexes, indexKey{r.key, at}, func(ctx context.Context) (txnIndex, error) {
		x, err := r.readTxnIndex(ctx, part)
		p.looked(chunkKey{r.key, at}, err)
		return x, err
	})
}

func (r *segmentReader) readTxnIndex(ctx context.Context, part format.Part) (txnIndex, error) {
	b, err := r.p.m.objects.readPart(ctx, r.key, r.s.At, part)
	if err != nil {
		return nil, err
	}
	x, err := storage.ParseAbortedTxns(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, r.key, err)
	}
	d := r.index.Description
	if int64(len(x)) != d.Aborted {
		return nil, fmt.Errorf("%w: the transaction index of %s has %d entries, want %d", ErrCorrupt, r.key, len(x), d.Aborted)
	}
	for i, t := range x {
		if t.FirstOffset < 0 || t.FirstOffset >= t.LastOffset || t.LastOffset < d.BaseOffset || t.LastOffset >= d.EndOffset ||
			i > 0 && t.LastOffset <= x[i-1].LastOffset {
			return nil, fmt.Errorf("%w: entry %d of the transaction index of %s: %+v", ErrCorrupt, i, r.key, t)
		}
	}
	return x, nil
}
