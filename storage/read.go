package storage

import (
	"errors"
	"fmt"
	"io/fs"
)

// Read returns a range of one segment's file that begins with the batch that contains offset, or
// with the next batch if compaction has removed that one. The caller must Release the slice.
//
// limit is an exclusive offset: every batch of the slice ends below it. Callers pass the high
// watermark, the last stable offset, or EndOffset for a follower. The slice is empty at the end and
// at the limit. It has at most maxBytes bytes, which may cut off its last batch, as in Kafka. The
// first batch is the exception: with minOne it is whole however large it is; without minOne, a
// first batch larger than maxBytes makes the slice empty.
//
// The error is ErrOffsetOutOfRange if offset is outside of [LocalStartOffset, EndOffset]. Bytes
// above the high watermark may change under a slice if the log is truncated; bytes below it do not.
func (l *Log) Read(offset int64, maxBytes int, limit int64, minOne bool) (Slice, error) {
	for {
		s, retry, err := l.read(offset, maxBytes, limit, minOne)
		if retry && l.usable() == nil {
			continue
		}
		if err != nil {
			return Slice{}, fmt.Errorf("read %s at offset %d: %w", l.key, offset, err)
		}
		return s, nil
	}
}

// read is one attempt of Read. retry means that a segment was deleted after the list was loaded.
func (l *Log) read(offset int64, maxBytes int, limit int64, minOne bool) (_ Slice, retry bool, err error) {
	if err = l.usable(); err != nil {
		return Slice{}, false, err
	}
	end := l.offsets.end.Load()
	list := l.list()
	if offset > end || offset < max(list[0].base, l.offsets.start.Load()) {
		return Slice{}, false, fmt.Errorf("%w: local log has %d to %d", ErrOffsetOutOfRange, l.LocalStartOffset(), end)
	}
	empty := Slice{base: offset}
	if offset >= min(end, limit) {
		return empty, false, nil
	}
	// Compaction may have left nothing at or after offset in its segment; then the next one is
	// tried.
	for _, s := range list[list.find(offset):] {
		if s.base >= limit {
			break
		}
		if !s.acquire() {
			return empty, true, nil // deleted after the list was loaded
		}
		slice, found, err := s.slice(offset, int64(maxBytes), limit, minOne)
		if found && slice.n > 0 {
			return slice, false, nil // the slice takes over the pin
		}
		s.release()
		switch {
		case err != nil && errors.Is(err, fs.ErrNotExist) && s.doomed.Load():
			return empty, true, nil
		case err != nil && l.closed.Load():
			return empty, false, ErrLogClosed
		case err != nil && !errors.Is(err, ErrCorrupt):
			return empty, false, classify(err)
		case err != nil:
			return empty, false, err
		case found: // the limits leave no byte of it
			return empty, false, nil
		}
	}
	return empty, false, nil
}

// slice returns the visible range of a pinned segment, with the segment's file acquired. found is
// false if all batches end before offset.
func (s *segment) slice(offset, maxBytes, limit int64, minOne bool) (_ Slice, found bool, err error) {
	size := s.size.Load()
	end := s.end.Load() // after size, see segment.size
	first, found, err := s.locate(offset, size)
	if err != nil || !found {
		return Slice{}, false, err
	}
	if first.last >= limit || (first.size > maxBytes && !minOne) {
		return Slice{}, true, nil
	}
	stop := min(size, first.pos+max(maxBytes, first.size))
	if limit < end {
		bound, within, boundErr := s.locate(limit, size)
		if boundErr != nil {
			return Slice{}, true, boundErr
		}
		if within {
			stop = min(stop, bound.pos)
		}
	}
	if _, err = s.file.acquire(false); err != nil {
		return Slice{}, true, err
	}
	return Slice{segment: s, base: first.base, pos: first.pos, n: stop - first.pos}, true, nil
}
