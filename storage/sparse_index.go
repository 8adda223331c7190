package storage

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"
	"sync/atomic"
)

// Bytes of an index's newest entries that stay in memory. The buffer starts small, because most
// partitions are quiet, and grows to a page, which is then written to the file at once.
const (
	indexTailMin = 128
	indexTailMax = 4096
)

// pages are buffers for a page of an index or of batch headers.
var pages = sync.Pool{New: func() any { return new([8192]byte) }}

// sparseIndex is a sorted array of entries of one width: a file, and in memory the entries that the
// file may not have yet. One goroutine at a time changes it, under Log.mu; lookups take no lock and
// may run at the same time.
type sparseIndex struct {
	file      cachedFile
	width     int
	persisted int // entries in the file; only the appender uses it
	tail      atomic.Pointer[indexTail]
}

// indexTail is the part in memory. A full one is replaced, not changed, so that lookups that hold
// it are not disturbed.
type indexTail struct {
	base int          // entries before buf, all of them in the file
	n    atomic.Int64 // valid entries of buf; stored after their bytes
	buf  []byte
}

// init sets how many entries the file has.
func (x *sparseIndex) init(file cachedFileInit, width, entries int) {
	x.file.cache, x.file.names, x.file.ext = file.cache, file.names, file.ext
	x.width = width
	x.persisted = entries
	x.tail.Store(&indexTail{base: entries})
}

// cachedFileInit has the parts of a cachedFile (which has a lock and cannot be copied).
type cachedFileInit struct {
	cache *fileCache
	names *segmentNames
	ext   string
}

func (x *sparseIndex) count() int {
	t := x.tail.Load()
	return t.base + int(t.n.Load())
}

// full reports whether another entry would make the file larger than limit bytes.
func (x *sparseIndex) full(limit int64) bool { return int64(x.count()+1)*int64(x.width) > limit }

// append adds an entry that sorts after all others.
func (x *sparseIndex) append(entry []byte) {
	t := x.tail.Load()
	n := int(t.n.Load())
	if (n+1)*x.width > len(t.buf) {
		t = x.grow(t, n)
		n = int(t.n.Load())
	}
	copy(t.buf[n*x.width:], entry)
	t.n.Store(int64(n + 1))
}

func (x *sparseIndex) grow(t *indexTail, n int) *indexTail {
	next := &indexTail{base: t.base}
	// If the file cannot be written now (a full disk) its entries stay in memory. The next roll or
	// flush that needs them in the file gets the error.
	if len(t.buf) >= indexTailMax/x.width*x.width && x.persist() == nil {
		next.base += n
		next.buf = make([]byte, indexTailMax/x.width*x.width)
	} else {
		next.buf = make([]byte, max(indexTailMin, 2*len(t.buf))/x.width*x.width)
		copy(next.buf, t.buf[:n*x.width])
		next.n.Store(int64(n))
	}
	x.tail.Store(next)
	return next
}

// persist writes to the file the entries that are only in memory, and creates it. It does not sync.
func (x *sparseIndex) persist() error {
	t := x.tail.Load()
	total := t.base + int(t.n.Load())
	if total == x.persisted && total > 0 {
		return nil
	}
	f, err := x.file.acquire(true)
	if err != nil {
		return err
	}
	defer x.file.release()
	missing := t.buf[(x.persisted-t.base)*x.width : (total-t.base)*x.width]
	if len(missing) == 0 {
		return nil
	}
	if _, err = f.WriteAt(missing, int64(x.persisted)*int64(x.width)); err != nil {
		return err
	}
	x.persisted = total
	return nil
}

// releaseTail drops the entries in memory. All of them must be in the file.
func (x *sparseIndex) releaseTail() {
	x.tail.Store(&indexTail{base: x.persisted})
}

// cut drops the entries from the n-th on, in memory and in the file.
func (x *sparseIndex) cut(n int) error {
	if err := x.persist(); err != nil {
		return err
	}
	f, err := x.file.acquire(true)
	if err != nil {
		return err
	}
	defer x.file.release()
	if err = f.Truncate(int64(n) * int64(x.width)); err != nil {
		return err
	}
	x.persisted = n
	x.releaseTail()
	return nil
}

// reset drops all entries, also those in a file that was not opened.
func (x *sparseIndex) reset() error {
	x.persisted = 0
	x.releaseTail()
	f, err := x.file.acquire(false)
	if err != nil {
		return ignoreNotExist(err)
	}
	defer x.file.release()
	return f.Truncate(0)
}

// indexEntry holds an entry of any index.
type indexEntry [12]byte

// last returns the newest entry; ok is false if there is none.
func (x *sparseIndex) last() (e indexEntry, ok bool, err error) {
	t := x.tail.Load()
	n := int(t.n.Load())
	switch {
	case n > 0:
		copy(e[:], t.buf[(n-1)*x.width:n*x.width])
		return e, true, nil
	case t.base == 0:
		return e, false, nil
	}
	err = x.readFile(e[:x.width], t.base-1)
	return e, err == nil, err
}

// floor returns the last entry for which le holds, and its position i. le must hold for a prefix of
// the entries and for none after it.
func (x *sparseIndex) floor(le func(entry []byte) bool) (e indexEntry, i int, ok bool, err error) {
	t := x.tail.Load()
	n := int(t.n.Load())
	w := x.width
	if n > 0 && (t.base == 0 || le(t.buf[:w])) {
		i = sort.Search(n, func(i int) bool { return !le(t.buf[i*w : (i+1)*w]) }) - 1
		if i < 0 {
			return e, 0, false, nil
		}
		copy(e[:], t.buf[i*w:(i+1)*w])
		return e, t.base + i, true, nil
	}
	return x.floorInFile(t.base, le)
}

// floorInFile searches the first n entries, in the file. It halves them until a page is left, which
// it reads at once.
func (x *sparseIndex) floorInFile(n int, le func(entry []byte) bool) (e indexEntry, i int, ok bool, err error) {
	page := pages.Get().(*[8192]byte)
	defer pages.Put(page)
	w := x.width
	lo, hi := 0, n // le holds before lo, not from hi on
	for hi-lo > indexTailMax/w {
		mid := lo + (hi-lo)/2
		if err = x.readFile(page[:w], mid); err != nil {
			return e, 0, false, err
		}
		if le(page[:w]) {
			lo = mid
		} else {
			hi = mid
		}
	}
	buf := page[:(hi-lo)*w]
	if len(buf) == 0 {
		return e, 0, false, nil
	}
	if err = x.readFile(buf, lo); err != nil {
		return e, 0, false, err
	}
	k := sort.Search(hi-lo, func(i int) bool { return !le(buf[i*w : (i+1)*w]) }) - 1
	if k < 0 {
		return e, 0, false, nil
	}
	copy(e[:], buf[k*w:(k+1)*w])
	return e, lo + k, true, nil
}

// readFile reads whole entries from the i-th on.
func (x *sparseIndex) readFile(p []byte, i int) error {
	f, err := x.file.acquire(false)
	if err != nil {
		return err
	}
	defer x.file.release()
	if _, err = f.ReadAt(p, int64(i)*int64(x.width)); err != nil {
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: index %s is shorter than it was", ErrCorrupt, x.file.ext)
		}
		return err
	}
	return nil
}

// bytes returns all entries as the file has them or would. The caller must prevent appends.
func (x *sparseIndex) bytes() ([]byte, error) {
	t := x.tail.Load()
	inFile, n := t.base*x.width, int(t.n.Load())*x.width
	b := make([]byte, inFile+n)
	if inFile > 0 {
		if err := x.readFile(b[:inFile], 0); err != nil {
			return nil, err
		}
	}
	copy(b[inFile:], t.buf[:n])
	return b, nil
}
