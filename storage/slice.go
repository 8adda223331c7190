package storage

import (
	"fmt"
	"os"

	"github.com/varvelog/varve/vfs"
)

// Slice is a range of a segment's file. The segment's files are not removed before Release, which
// must be called exactly once. The zero Slice is empty; copies must not be used after Release. A
// Slice owns no memory.
type Slice struct {
	segment *segment
	base    int64
	pos, n  int64
}

// Len returns the number of bytes.
func (s Slice) Len() int { return int(s.n) }

// BaseOffset returns the offset of the first batch, which may be below the offset that was read.
// For an empty slice it returns that offset.
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

// grow extends a slice by n bytes of any content.
func grow(b []byte, n int) []byte {
	if need := len(b) + n; need > cap(b) {
		next := make([]byte, len(b), need)
		copy(next, b)
		b = next
	}
	return b[:len(b)+n]
}

// File returns the file that holds the bytes, at Pos; nil for an empty slice. It stays open until
// Release.
func (s Slice) File() vfs.File {
	if s.n == 0 {
		return nil
	}
	f, err := s.segment.file.acquire(false) // open already: the slice has it pinned
	if err != nil {
		return nil
	}
	s.segment.file.release()
	return f
}

// OSFile returns the operating system's file behind a slice's File, for sendfile(2); nil if there
// is none. The File still owns it.
func OSFile(file vfs.File) *os.File {
	if f, ok := file.(vfs.OSFiler); ok {
		return f.OSFile()
	}
	return nil
}

// Pos returns the position in File where the bytes begin.
func (s Slice) Pos() int64 { return s.pos }

// Release unpins the segment and its file.
func (s Slice) Release() {
	if s.n > 0 {
		s.segment.file.release()
		s.segment.release()
	}
}
