package storage

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/varvelog/varve/record"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crcStart is the offset in a batch at which the range covered by its CRC begins.
const crcStart = 21

// largeBatch is a size in bytes: after a larger batch, only the next header is read. The rest of a
// whole window would not be needed, unless batches are read in full.
const largeBatch = 4096

// batchScanner iterates over the headers of the batches between two positions of a .log. It reads
// through a window: small batches share one read, and no batch has to fit in memory.
type batchScanner struct {
	r   io.ReaderAt
	pos int64 // of the next batch
	end int64

	window []byte
	at     int64 // position of the window's first byte
	have   int   // valid bytes in the window
	last   int64 // size of the previous batch
	full   bool  // batches are read in full, not only their headers
}

// scanBatches starts a scan. The window belongs to the scanner until the scan is over.
func scanBatches(r io.ReaderAt, pos, end int64, window []byte) *batchScanner {
	return &batchScanner{r: r, pos: pos, end: end, window: window}
}

// next returns the header of the next batch and its position. The header is valid until the next
// call. io.EOF ends the scan. Bytes that are not a batch give ErrCorrupt and their position.
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

// verify compares the CRC of the batch at pos, whose header next has returned, with its content. It
// may overwrite the window, and with it that header.
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

// whole reads the batch at pos, whose header next has returned. It reads from the window or, if the
// batch is larger than that, into spare, which may grow. The batch is valid until the next call.
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

// bytes returns n bytes from pos on, at most a window. They are valid until the next call.
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
