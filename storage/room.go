package storage

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/varvelog/varve/vfs"
)

// room keeps some of a disk free: what else is on it needs space while the logs find none. An
// embedded etcd ends the process when it cannot write, and then nothing deletes what would make room;
// checkpoints and indexes are written beside the old ones before these go.
//
// The disk is not asked at every append. It grants an eighth of what is there above the reserve, so
// that others may take as much at the same time.
type room struct {
	fs      vfs.FS
	path    string
	reserve int64        // bytes that stay free, unless the disk is small; 0: none
	granted atomic.Int64 // bytes that may be written before the disk is asked again
}

const (
	// reservedPart is the part of a disk that is kept free at most: small ones are usable too.
	reservedPart = 8
	// mostGranted bounds what is written without a look at the disk.
	mostGranted = 64 << 20
)

// take is an ErrDiskFull if the disk has too little room for n bytes more. It may be called
// concurrently; then each caller may get what the others do.
func (r *room) take(n int64) error {
	if r.reserve <= 0 || r.granted.Add(-n) >= 0 {
		return nil
	}
	total, free, err := int64(0), int64(0), error(nil)
	if disk, ok := r.fs.(vfs.SpaceReporter); ok {
		total, free, err = disk.Space(r.path)
	}
	if total <= 0 || err != nil { // it does not know
		r.granted.Store(math.MaxInt64 / 2)
		return nil //nolint:nilerr // the write says what is wrong
	}
	above := free - min(r.reserve, total/reservedPart)
	if above < n {
		r.granted.Store(0)
		return fmt.Errorf("%w: %d bytes are free, of which varve.log.reserve.bytes are kept", ErrDiskFull, free)
	}
	r.granted.Store(min(above/8, mostGranted))
	return nil
}
