package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"

	"github.com/varvelog/varve/record"
)

// cleaning is one compaction of one log, in two passes. The first notes the last offset of every
// key in the dirty part. The second rewrites the segments, oldest first, and drops every record
// that has a later record with the same key. It keeps in memory the map of keys, two buffers and
// the largest batch. Keys that do not fit in the map are left for the next cleaning.
type cleaning struct {
	log     *Log
	cfg     Config // as it was when the cleaning began
	share   cleanerShare
	part    cleanable
	keys    *offsetMap
	filter  batchFilter
	out     []byte // bytes to write
	window  []byte // read buffer
	spare   []byte // holds a batch larger than window
	read    int64  // bytes read, in both passes
	written int64
}

// cleanerShare is what one cleaning gets of the broker's resources.
type cleanerShare struct {
	mapBytes    int64
	bufferBytes int64
	loadFactor  float64
	pace        *pacer
	metrics     *cleanerMetrics
}

// clean compacts the log, unless its settings no longer ask for it or another call forbids it.
// errCleaningAborted means that the log may be tried again later.
func (l *Log) clean(ctx context.Context, share cleanerShare) error {
	ctx, end, ok := l.beginCleaning(ctx)
	if !ok {
		return errCleaningAborted
	}
	defer end()
	now := l.nowMs()
	part, err := l.cleanable(now)
	if err != nil {
		return err
	}
	c := &cleaning{log: l, cfg: l.Config(), share: share, part: part}
	if !part.due(&c.cfg) {
		return nil
	}
	unpin, ok := part.list.pin()
	if !ok {
		return errCleaningAborted
	}
	defer unpin()
	err = c.run(ctx, now)
	share.metrics.readBytes.Add(float64(c.read))
	share.metrics.writtenBytes.Add(float64(c.written))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", errCleaningAborted, context.Cause(ctx))
	// The log was deleted or its disk failed.
	case l.usable() != nil:
		return fmt.Errorf("%w: %w", errCleaningAborted, l.usable())
	}
	return err
}

// pin acquires all segments; ok is false if one of them is gone.
func (s segmentList) pin() (unpin func(), ok bool) {
	for i, one := range s {
		if !one.acquire() {
			s[:i].unpin()
			return nil, false
		}
	}
	return s.unpin, true
}

func (s segmentList) unpin() {
	for _, one := range s {
		one.release()
	}
}

func (c *cleaning) run(ctx context.Context, now int64) error {
	l := c.log
	if err := l.removeCleaned(); err != nil {
		return err
	}
	c.window = make([]byte, max(c.share.bufferBytes, 2*record.HeaderSize))
	dirtyOffsets := c.part.end() - c.part.dirty // no less than the number of keys
	c.keys = newOffsetMap(c.share.mapBytes, c.share.loadFactor, dirtyOffsets)
	if err := c.noteKeys(ctx); err != nil {
		return fmt.Errorf("note keys: %w", err)
	}
	c.filter = batchFilter{keys: c.keys, txns: newTxnWalk(), now: now, retentionMs: c.cfg.DeleteRetentionMs}
	groups := c.groups()
	before := c.part.cleanBytes + c.part.dirtyBytes
	for _, g := range groups {
		made, err := c.rewrite(ctx, g)
		if err == nil {
			err = l.swap(g, made)
		}
		if err != nil {
			return fmt.Errorf("clean segments from %d on: %w", g.segments[0].base, err)
		}
	}
	// Only after all swaps. After an error, or a crash before the checkpoint has the offset, the
	// part counts as dirty and is cleaned again.
	l.cleaning.upTo.Store(c.keys.latest + 1)
	if c.filter.keyless > 0 {
		l.logger.Warn("compaction removed records that have no key", slog.Int64("records", c.filter.keyless))
	}
	l.logger.Info("compacted", slog.Int64("from", c.part.dirty), slog.Int64("up_to", c.keys.latest+1), slog.Int("keys", c.keys.used),
		slog.Int64("bytes_before", before), slog.Int64("bytes_written", c.written),
		slog.Int("segments_before", len(c.part.list)), slog.Int("segments", len(groups)))
	return nil
}

// removeCleaned removes files that an earlier cleaning left half written. If that fails the
// cleaning must not begin: recovery undoes a swap that it finds beside .cleaned files.
func (l *Log) removeCleaned() error {
	entries, err := l.env.fs.ReadDir(l.path())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffixCleaned) {
			if err = l.env.fs.Remove(filepath.Join(l.path(), e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// noteKeys is the first pass: over the dirty part, until the map is full. It sets keys.latest.
func (c *cleaning) noteKeys(ctx context.Context) error {
	txns := newTxnWalk()
	c.keys.latest = c.part.dirty - 1
	for i, s := range c.part.list {
		end := c.part.ends[i]
		if end <= c.part.dirty {
			continue
		}
		aborted, err := c.log.AbortedTransactions(max(s.base, c.part.dirty), end)
		if err != nil {
			return err
		}
		txns.enter(aborted)
		full := false
		err = c.eachBatch(ctx, s, c.part.dirty, func(b record.Batch, _ bool) (_ bool, err error) {
			full, err = c.noteBatch(b, &txns)
			return !full, err
		})
		if err != nil || full {
			return err
		}
		c.keys.latest = end - 1 // the last offsets of the segment may be missing
	}
	return nil
}

// noteBatch puts a batch's keys into the map. full reports that the map has no room for all of
// them; keys.latest is then the last record that it covers, perhaps within the batch.
func (c *cleaning) noteBatch(b record.Batch, txns *txnWalk) (full bool, err error) {
	if b.IsControl() {
		_, err = txns.marker(b)
	} else if !txns.data(b) {
		if err = c.filter.excerpt.Begin(b); err != nil {
			return false, fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		for e, err := range c.filter.excerpt.Entries() {
			switch {
			case err != nil:
				return false, fmt.Errorf("%w: %w", ErrCorrupt, err)
			case e.Offset < c.part.dirty:
			case e.Key != nil && !c.keys.put(e.Key, e.Offset):
				return true, nil
			default:
				c.keys.latest = e.Offset
			}
		}
	}
	c.keys.latest = max(c.keys.latest, b.LastOffset())
	return false, err
}

// eachBatch passes the batches of a segment that end at or after from to visit, whole and checked,
// no faster than the pace allows. last marks the segment's last batch. A batch is valid until visit
// returns.
func (c *cleaning) eachBatch(ctx context.Context, s *segment, from int64, visit func(b record.Batch, last bool) (more bool, err error)) error {
	size, start := s.size.Load(), int64(0)
	if from > s.base {
		loc, found, err := s.locate(from, size)
		if err != nil || !found {
			return err
		}
		start = loc.pos
	}
	f, err := s.file.acquire(false)
	if err != nil {
		return err
	}
	defer s.file.release()
	if cap(c.spare) > largestSpare {
		c.spare = nil
	}
	for sc := scanBatches(f, start, size, c.window); sc.pos < size; {
		header, pos, err := sc.next()
		if err != nil {
			return fmt.Errorf("scan %s: %w", fileName(s.base, extLog), err)
		}
		b, err := sc.whole(header, pos, &c.spare)
		if err == nil {
			// A damaged batch must not get a new checksum.
			err = b.Check()
		}
		if err != nil {
			if errors.Is(err, record.ErrCorrupt) || errors.Is(err, record.ErrMagic) {
				err = fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
			return fmt.Errorf("batch at position %d of %s: %w", pos, fileName(s.base, extLog), err)
		}
		c.read += int64(len(b))
		if err = c.share.pace.wait(ctx, len(b)); err != nil {
			return err
		}
		more, err := visit(b, sc.pos == size)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// largestSpare is the largest buffer, in bytes, that is kept from one segment to the next.
const largestSpare = 8 << 20
