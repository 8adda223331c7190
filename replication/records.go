package replication

import (
	"github.com/varvelog/varve/storage"
)

// Records are whole batches from one tier: a pinned range of a local file, or bytes read from the
// bucket. The first batch contains the requested offset, so it may begin before it. The zero value
// has no records.
type Records struct {
	slice   storage.Slice
	local   bool
	parts   [][]byte
	release func()
}

// Len returns the size in bytes.
func (r *Records) Len() int {
	if r.local {
		return r.slice.Len()
	}
	n := 0
	for _, part := range r.parts {
		n += len(part)
	}
	return n
}

// Parts returns the batches if they are in memory, as consecutive parts of whole batches. They are
// valid until Release and must not be modified.
func (r *Records) Parts() (parts [][]byte, ok bool) { return r.parts, !r.local }

// Slice returns the file range if the batches are on local disk. Release releases it; it is valid
// until then.
func (r *Records) Slice() (s storage.Slice, ok bool) { return r.slice, r.local }

// AppendTo appends the batches to dst, and reads them from the file if necessary.
func (r *Records) AppendTo(dst []byte) ([]byte, error) {
	if r.local {
		return r.slice.AppendTo(dst)
	}
	for _, part := range r.parts {
		dst = append(dst, part...)
	}
	return dst, nil
}

// Release releases the file or the memory. It may be called more than once.
func (r *Records) Release() {
	if r.local {
		r.slice.Release()
	}
	if r.release != nil {
		r.release()
	}
	*r = Records{}
}
