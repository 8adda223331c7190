package storage

import (
	"fmt"
	"os"

	"github.com/varvelog/varve/vfs"
)

// Slice is a range of a segment's file. It keeps the segment's files from being
// removed until Release, which must be called exactly once; the zero Slice and
// copies after Release are of no use. It is a value without memory of its own.
type Slice struct {
	segment *segment
	base    int64
	pos, n  int64
}

// Len is how many bytes the slice has.
func (s Slice) Len() int { return int(s.n) }

// BaseOffset is the offset of the first batch, which may be below the one that
// was asked for; of an empty slice, the one asked for.
func (s Slice) BaseOffset() int64 { return s.base }

// AppendTo appends the bytes to dst.
func (s Slice) AppendTo(dst []byte) ([]byte, error) {
	if s.n == 0 {
		return dst, nil
	}
	f, err := s.segment.file.acquire(false)
	if err != nil {
		return dst, classify(err)
	}
	defer s.segment.file.release()
	start := len(dst)
	dst = grow(dst, int(s.n))
	if _, err = f.ReadAt(dst[start:], s.pos); err != nil {
		return dst[:start], fmt.Errorf("read %d bytes at %d of %s: %w", s.n, s.pos, fileName(s.segment.base, extLog), classify(err))
	}
	return dst, nil
}

// grow lengthens a slice by n bytes of any content.
func grow(b []byte, n int) []byte {
	if need := len(b) + n; need > cap(b) {
		next := make([]byte, len(b), need)
		copy(next, b)
		b = next
	}
	return b[:len(b)+n]
}

// File is the file that holds the bytes, at Pos; it stays open until Release.
// It is nil for an empty slice.
func (s Slice) File() vfs.File {
	if s.n == 0 {
		return nil
	}
	f, err := s.segment.file.acquire(false) // it is open: the slice has it pinned
	if err != nil {
		return nil
	}
	s.segment.file.release()
	return f
}

// OSFile is the operating system's file behind a slice's File, for sendfile(2); nil if there is none. It stays owned by the File.
func OSFile(file vfs.File) *os.File {
	if f, ok := file.(vfs.OSFiler); ok {
		return f.OSFile()
	}
	return nil
}

// Pos is where in File the bytes begin.
func (s Slice) Pos() int64 { return s.pos }

// Release lets the segment's files go.
func (s Slice) Release() {
	if s.n > 0 {
		s.segment.file.release()
		s.segment.release()
	}
}
