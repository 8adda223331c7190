package storage

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/varvelog/varve/vfs"
)

// room keeps part of a disk free for its other users when logs have used up the rest. An embedded
// etcd ends the process when it cannot write, and then nothing deletes files to make room.
// Checkpoints and indexes need space too: the new file is written beside the old one.
//
// The disk is not asked at every append. Each answer grants an eighth of the space above the
// reserve, so that other writers may take as much at the same time.
type room struct {
	fs      vfs.FS
	path    string
	reserve int64        // bytes kept free, less on a small disk; 0: none
	granted atomic.Int64 // bytes that may be written before the disk is asked again
}

const (
	// reservedPart bounds the reserve to 1/reservedPart of a disk, so that small disks are usable
	// too.
	reservedPart = 8
	// mostGranted bounds the bytes written without asking the disk.
	mostGranted = 64 << 20
)

// take returns ErrDiskFull if the disk has too little room for n more bytes. It may be called
// concurrently; each caller may then get what the others do.
func (r *room) take(n int64) error {
	if r.reserve <= 0 || r.granted.Add(-n) >= 0 {
		return nil
	}
	total, free, err := int64(0), int64(0), error(nil)
	if disk, ok := r.fs.(vfs.SpaceReporter); ok {
		total, free, err = disk.Space(r.path)
	}
	if total <= 0 || err != nil { // the disk's size is unknown
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
