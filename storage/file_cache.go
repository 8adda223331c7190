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

// fileName is a segment file's name: the base offset in 20 digits.
func fileName(base int64, ext string) string { return fmt.Sprintf("%020d%s", base, ext) }

// fileCache bounds how many files are open. Files are opened when they are
// needed and closed, by the clock algorithm, when the limit is reached and
// nobody uses them. If all are in use the limit gives way: what is in use is
// bounded by what the broker does at once.
//
// Lock order: a cachedFile's, then the cache's, then by TryLock another file's.
type fileCache struct {
	fs    vfs.FS
	limit int
	mu    struct {
		invariants.Mutex[rankFileCache]
		open []*cachedFile
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
		file vfs.File // nil: not open
		pins int
		used bool
		slot int // in the cache's list; the cache's lock guards it
	}
}

// segmentNames is where a segment's files are. Its lock keeps a file from being
// opened by its old name while it is renamed.
type segmentNames struct {
	invariants.RWMutex[rankNames]
	dir    string
	base   int64
	suffix string // "", suffixCleaned, suffixSwap, or a number and suffixDeleted
}

func (n *segmentNames) path(ext string) string {
	return filepath.Join(n.dir, fileName(n.base, ext)+n.suffix)
}

// acquire opens the file if need be and keeps it open until release. create
// makes it if it does not exist.
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

// close closes the file if it is open. Nobody may have it acquired. Errors of
// closing say nothing: what had to be durable was synced.
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

// sync makes the file's content durable.
func (c *cachedFile) sync() error {
	f, err := c.acquire(true)
	if err != nil {
		return err
	}
	defer c.release()
	return f.Sync()
}

// reload makes reads see what the disk has.
func (c *cachedFile) reload() error {
	f, err := c.acquire(false)
	if err != nil {
		return err
	}
	defer c.release()
	return vfs.Reload(f)
}

// reserve takes a place for c, whose lock is held, and closes others to make room.
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

// drop gives c's place back; c's lock is held.
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

// count is how many files are open.
func (fc *fileCache) count() int {
	fc.mu.Lock()
	defer fc.mu.Unlock()
	return len(fc.mu.open)
}
