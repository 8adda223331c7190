package tiering

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/tiering/format"
)

// scanBuffer is how much of a log is read at a time, in bytes.
const scanBuffer = 256 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// logScan is the result of one pass over the log bytes of a segment: where its chunks are, their
// checksums, and what they contain.
type logScan struct {
	chunks                     format.Directory
	records, batches           int64
	minTimestamp, maxTimestamp int64 // as in format.Segment
	ownBytes                   int64 // of batches whose last offset is start or later

	in         *bufio.Reader
	start      int64
	size       int64
	position   int64
	chunkBytes int
	chunk      format.Chunk // the chunk being filled
}

// scanLog reads the log of a segment once. Its object serves offsets from start on.
func scanLog(log *io.SectionReader, start int64, chunkBytes int) (*logScan, error) {
	s := &logScan{
		start: start, minTimestamp: record.NoTimestamp, maxTimestamp: record.NoTimestamp,
		in: bufio.NewReaderSize(io.NewSectionReader(log, 0, log.Size()), scanBuffer), size: log.Size(), chunkBytes: chunkBytes,
	}
	for s.position < s.size {
		if err := s.batch(); err != nil {
			return nil, fmt.Errorf("read log at byte %d: %w", s.position, err)
		}
	}
	s.endChunk()
	return s, nil
}

// batch adds the next batch to a chunk.
func (s *logScan) batch() error {
	header, err := s.in.Peek(record.HeaderSize)
	if err != nil {
		return shrunk(err)
	}
	b := record.Batch(header)
	size := int64(b.Size())
	if b.Magic() != record.MagicV2 || size < record.HeaderSize || size > s.size-s.position || b.LastOffsetDelta() < 0 || b.Count() < 0 {
		return fmt.Errorf("%w: there is no batch", ErrCorrupt)
	}
	if s.chunk.PlainBytes > 0 && int64(s.chunk.PlainBytes)+size > int64(s.chunkBytes) {
		s.endChunk()
	}
	if s.chunk.PlainBytes == 0 {
		s.chunk.Position, s.chunk.BaseOffset = s.position, b.BaseOffset()
	}
	if b.LastOffset() >= s.start {
		s.ownBytes += size
	}
	s.count(b)
	return s.bytes(size)
}

// count counts the header of a batch. A batch without records, which compaction leaves, has no
// timestamp that a look-up could find.
func (s *logScan) count(b record.Batch) {
	s.batches++
	s.chunk.Batches++
	s.records += int64(b.Count())
	if b.Count() == 0 {
		return
	}
	s.maxTimestamp = max(s.maxTimestamp, b.MaxTimestamp())
	first := b.BaseTimestamp()
	switch {
	case b.IsLogAppendTime():
		first = b.MaxTimestamp()
	case b.HasDeleteHorizon(): // which replaces the first timestamp
		return
	}
	if first >= 0 && (s.minTimestamp < 0 || first < s.minTimestamp) {
		s.minTimestamp = first
	}
}

// bytes adds the next n bytes to the chunk.
func (s *logScan) bytes(n int64) error {
	for n > 0 {
		if _, err := s.in.Peek(1); err != nil {
			return shrunk(err)
		}
		b, err := s.in.Peek(int(min(n, int64(s.in.Buffered()))))
		if err != nil {
			return shrunk(err)
		}
		s.chunk.CRC32C = crc32.Update(s.chunk.CRC32C, castagnoli, b)
		s.chunk.PlainBytes += len(b)
		s.position += int64(len(b))
		n -= int64(len(b))
		if _, err = s.in.Discard(len(b)); err != nil {
			return shrunk(err)
		}
	}
	return nil
}

func (s *logScan) endChunk() {
	if s.chunk.PlainBytes > 0 {
		s.chunk.StoredBytes, s.chunk.MaxTimestamp = s.chunk.PlainBytes, s.maxTimestamp
		s.chunks = append(s.chunks, s.chunk)
	}
	s.chunk = format.Chunk{}
}

// shrunk turns io.EOF into the error of a file that is shorter than it claimed.
func shrunk(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
