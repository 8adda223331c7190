package storage

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/varvelog/varve/record"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crcStart is where the part of a batch begins that its CRC covers.
const crcStart = 21

// largeBatch: behind a batch of this size the next header is read alone,
// because what a whole window would bring besides is not needed, unless batches
// are verified.
const largeBatch = 4096

// batchScanner walks over the batches between two positions of a .log by their
// headers. It reads through a window, so that small batches cost one read for
// many, and never needs memory for a whole batch.
type batchScanner struct {
	r   io.ReaderAt
	pos int64 // of the next batch
	end int64

	window []byte
	at     int64 // position of the window's first byte
	have   int   // valid bytes in the window
	last   int64 // size of the batch before
	full   bool  // batches are read whole, not only their headers
}

// scanBatches starts a scan; window is the scanner's until it is done.
func scanBatches(r io.ReaderAt, pos, end int64, window []byte) *batchScanner {
	return &batchScanner{r: r, pos: pos, end: end, window: window}
}

// next returns the header of the next batch, valid until the next call, and
// where the batch starts. io.EOF ends the scan; any other bytes that are no
// batch give ErrCorrupt and the position.
func (s *batchScanner) next() (header record.Batch, pos int64, err error) {
	pos = s.pos
	if pos >= s.end {
		return nil, pos, io.EOF
	}
	if s.end-pos < record.HeaderSize {
		return nil, pos, fmt.Errorf("%w: %d bytes at position %d are less than a batch header", ErrCorrupt, s.end-pos, pos)
	}
	b, err := s.bytes(pos, record.HeaderSize)
	if err != nil {
		return nil, pos, err
	}
	header = record.Batch(b)
	size := int64(header.Size())
	switch {
	case size < record.HeaderSize:
		err = fmt.Errorf("%w: batch at position %d has size %d", ErrCorrupt, pos, size)
	case header.Magic() != record.MagicV2:
		err = fmt.Errorf("%w: batch at position %d has magic %d", ErrCorrupt, pos, header.Magic())
	case size > s.end-pos:
		err = fmt.Errorf("%w: batch at position %d has size %d, the file %d bytes more", ErrCorrupt, pos, size, s.end-pos)
	case header.LastOffsetDelta() < 0 || header.BaseOffset() < 0 || header.NextOffset() < 0:
		err = fmt.Errorf("%w: batch at position %d has base offset %d and last offset delta %d", ErrCorrupt, pos, header.BaseOffset(), header.LastOffsetDelta())
	}
	if err != nil {
		return nil, pos, err
	}
	s.pos, s.last = pos+size, size
	return header, pos, nil
}

// verify compares the CRC of the batch at pos, whose header next has returned,
// with its content.
func (s *batchScanner) verify(header record.Batch, pos int64) error {
	want, size := header.CRC(), int64(header.Size())
	s.full = true
	var sum uint32
	for off := int64(crcStart); off < size; {
		n := min(size-off, int64(len(s.window)))
		b, err := s.bytes(pos+off, int(n))
		if err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, b)
		off += n
	}
	if sum != want {
		return fmt.Errorf("%w: batch at position %d has CRC %#08x, content %#08x", ErrCorrupt, pos, want, sum)
	}
	return nil
}

// whole reads the batch at pos, whose header next has returned: from the window
// or, if it is too large for that, into spare, which may grow. It is valid until
// the next call.
func (s *batchScanner) whole(header record.Batch, pos int64, spare *[]byte) (record.Batch, error) {
	s.full = true
	size := header.Size()
	if size <= len(s.window) {
		b, err := s.bytes(pos, size)
		return record.Batch(b), err
	}
	*spare = grow((*spare)[:0], size)
	if _, err := s.r.ReadAt(*spare, pos); err != nil {
		return nil, fmt.Errorf("read batch of %d bytes at position %d: %w", size, pos, err)
	}
	return record.Batch(*spare), nil
}

// bytes returns n bytes, at most a window, from a position.
func (s *batchScanner) bytes(pos int64, n int) ([]byte, error) {
	if pos >= s.at && pos+int64(n) <= s.at+int64(s.have) {
		return s.window[pos-s.at:][:n], nil
	}
	fill := int(min(int64(len(s.window)), s.end-pos))
	if n == record.HeaderSize && s.last > largeBatch && !s.full {
		fill = n
	}
	got, err := s.r.ReadAt(s.window[:max(fill, n)], pos)
	s.at, s.have = pos, got
	if got >= n {
		return s.window[:n], nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = fmt.Errorf("%w: file ends at position %d, expected %d", ErrCorrupt, pos+int64(got), s.end)
	}
	return nil, err
}
