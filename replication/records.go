package replication

import (
	"github.com/varvelog/varve/storage"
)

// Records are whole batches from one tier: a pinned range of a local file, or bytes that were read
// from the bucket. The first batch contains the offset that was asked for, so it may begin before.
// The zero value has no records.
type Records struct {
	slice   storage.Slice
	local   bool
	parts   [][]byte
	release func()
}

// Len is the size in bytes.
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

// Parts are the batches, if they are in memory: whole batches each, one part after the other. They
// are valid until Release and must not be written to.
func (r *Records) Parts() (parts [][]byte, ok bool) { return r.parts, !r.local }

// Slice is the file range, if the batches are on the local disk. It is valid until Release, which
// releases it.
func (r *Records) Slice() (s storage.Slice, ok bool) { return r.slice, r.local }

// AppendTo appends the batches to dst, reading them if need be.
func (r *Records) AppendTo(dst []byte) ([]byte, error) {
	if r.local {
		return r.slice.AppendTo(dst)
	}
	for _, part := range r.parts {
		dst = append(dst, part...)
	}
	return dst, nil
}

// Release lets go of the file or the memory. It may be called again.
func (r *Records) Release() {
	if r.local {
		r.slice.Release()
	}
	if r.release != nil {
		r.release()
	}
	*r = Records{}
}
