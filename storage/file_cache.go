package storage

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/vfs"
)

// Extensions of a segment's files.
const (
	extLog       = ".log"
	extIndex     = ".index"
	extTimeIndex = ".timeindex"
	extTxnIndex  = ".txnindex"
	extSnapshot  = ".snapshot"

	suffixDeleted = ".deleted"
	suffixCleaned = ".cleaned"
	suffixSwap    = ".swap"
)

// fileName returns the name of a segment's file: the base offset in 20 digits.
func fileName(base int64, ext string) string { return fmt.Sprintf("%020d%s", base, ext) }

// fileCache limits the number of open files (S10). A file is opened when it is needed. At the
// limit, the clock algorithm picks an unused file to close. If all are in use the limit is
// exceeded: the number of files in use is limited by the broker's concurrency.
//
// Lock order: a cachedFile's lock, then the cache's, then another cachedFile's by TryLock only.
type fileCache struct {
	fs    vfs.FS
	limit int
	mu    struct {
		invariants.Mutex[rankFileCache]
		open []*cachedFile
		// hand is the clock's position in open.
		hand int
	}
}

// cachedFile is one file of a segment, open or not.
type cachedFile struct {
	cache *fileCache
	names *segmentNames
	ext   string
	mu    struct {
		invariants.Mutex[rankFile]
		// file is nil while it is not open. It is only closed while pins is 0.
		file vfs.File
		pins int
		used bool
		// slot is the index in the cache's list; guarded by the cache's lock.
		slot int
	}
}

// segmentNames is where a segment's files are. Its lock keeps a file from being opened by its old
// name during a rename.
type segmentNames struct {
	invariants.RWMutex[rankNames]
	dir    string
	base   int64
	suffix string // "", suffixCleaned, suffixSwap, or a number and suffixDeleted
}

func (n *segmentNames) path(ext string) string {
	return filepath.Join(n.dir, fileName(n.base, ext)+n.suffix)
}

// acquire opens the file if necessary and keeps it open until release. With create set, it creates
// a missing file.
func (c *cachedFile) acquire(create bool) (vfs.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.file == nil {
		c.cache.reserve(c)
		flag := os.O_RDWR
		if create {
			flag |= os.O_CREATE
		}
		c.names.RLock()
		f, err := c.cache.fs.OpenFile(c.names.path(c.ext), flag, 0o644)
		c.names.RUnlock()
		if err != nil {
			c.cache.drop(c)
			return nil, err
		}
		c.mu.file = f
	}
	c.mu.pins++
	c.mu.used = true
	return c.mu.file, nil
}

// release undoes one acquire.
func (c *cachedFile) release() {
	c.mu.Lock()
	c.mu.pins--
	c.mu.Unlock()
}

// close closes the file if it is open. No caller may have it acquired. Errors of closing are
// ignored: data that must be durable was synced before.
func (c *cachedFile) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.file == nil {
		return
	}
	_ = c.mu.file.Close()
	c.mu.file = nil
	c.cache.drop(c)
}

// sync makes the file's content durable. It creates a missing file.
func (c *cachedFile) sync() error {
	f, err := c.acquire(true)
	if err != nil {
		return err
	}
	defer c.release()
	return f.Sync()
}

// reload discards cached pages, so that reads return what the disk has (after a failed fsync).
func (c *cachedFile) reload() error {
	f, err := c.acquire(false)
	if err != nil {
		return err
	}
	defer c.release()
	return vfs.Reload(f)
}

// reserve takes a slot for c, whose lock is held, and closes other files to make room.
func (fc *fileCache) reserve(c *cachedFile) {
	fc.mu.Lock()
	defer fc.mu.Unlock()
	// Two rounds of the clock: the first may only clear the used marks.
	for range 2 * len(fc.mu.open) {
		if len(fc.mu.open) < fc.limit {
			break
		}
		fc.mu.hand++
		if fc.mu.hand >= len(fc.mu.open) {
			fc.mu.hand = 0
		}
		fc.evictLocked(fc.mu.open[fc.mu.hand])
	}
	c.mu.slot = len(fc.mu.open)
	fc.mu.open = append(fc.mu.open, c)
}

// evictLocked closes c if it is unused. It never waits for c's lock, which comes before the
// cache's.
func (fc *fileCache) evictLocked(c *cachedFile) {
	if !c.mu.TryLock() {
		return
	}
	defer c.mu.Unlock()
	switch {
	case c.mu.file == nil || c.mu.pins > 0:
	case c.mu.used:
		c.mu.used = false
	default:
		_ = c.mu.file.Close()
		c.mu.file = nil
		fc.dropLocked(c)
	}
}

// drop gives c's slot back; c's lock is held.
func (fc *fileCache) drop(c *cachedFile) {
	fc.mu.Lock()
	defer fc.mu.Unlock()
	fc.dropLocked(c)
}

func (fc *fileCache) dropLocked(c *cachedFile) {
	last := len(fc.mu.open) - 1
	moved := fc.mu.open[last]
	fc.mu.open[c.mu.slot] = moved
	moved.mu.slot = c.mu.slot
	fc.mu.open[last] = nil
	fc.mu.open = fc.mu.open[:last]
}

// count returns the number of open files.
func (fc *fileCache) count() int {
	fc.mu.Lock()
	defer fc.mu.Unlock()
	return len(fc.mu.open)
}
