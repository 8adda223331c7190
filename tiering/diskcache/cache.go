package diskcache

import (
	"context"
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/varvelog/varve/stepped"
	"github.com/varvelog/varve/vfs"
)

const (
	readers = 8
	writers = 2
	// maxReads and maxWrites bound the queues. A block in the write queue is held in memory.
	maxReads  = 256
	maxWrites = 64
	// Blocks of ghostShare times the cache's bytes are remembered after one read from the store.
	ghostShare = 4
	// maxGhosts bounds the number of those blocks.
	maxGhosts = 1 << 20
	// DefaultPatience is how long a read of a block may take: a working disk answers within a few
	// milliseconds, and the store would within some tens.
	DefaultPatience = 50 * time.Millisecond
	// restAfterFailure is how long nothing is written to a disk that has failed or is full.
	restAfterFailure = 10 * time.Second
)

// Options configures a Cache. FS, Dir and Bytes are required.
type Options struct {
	FS         vfs.FS
	Dir        string        // for the cache alone; created if missing
	Bytes      int64         // that the blocks may take
	Patience   time.Duration // how long Get waits for the disk; 0: DefaultPatience
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil is allowed
}

// Cache is a cache of blocks on a disk. Its methods may be called concurrently. Before Run has read
// the directories, and after it has ended, everything is a miss.
type Cache struct {
	o       Options
	metrics *metrics
	reads   chan *read
	writes  chan write

	mu struct {
		sync.Mutex
		running bool
		blocks  *simplelru.LRU[name, int64] // name to size in bytes, the least recently used first
		bytes   int64                       // of blocks
		pending map[name]bool               // queued for writing
		ghosts  *simplelru.LRU[name, int64]
		ghost   int64 // bytes of ghosts
		rests   time.Time
		failing bool
	}
}

// name identifies a block: its file is named after it.
type name [16]byte

func nameOf(object string, at int64) name {
	h := fnv.New128a()
	_, _ = h.Write([]byte(object))
	_, _ = h.Write(strconv.AppendInt([]byte{0}, at, 10))
	return name(h.Sum(nil))
}

// read is a request to read a block.
type read struct {
	name    name
	size    int
	crc32c  uint32
	done    chan struct{} // closed after content is set
	content []byte        // nil: the block is missing or damaged
}

// write is a block in the write queue.
type write struct {
	name    name
	content []byte
}

// New returns a Cache. It touches no file.
func New(o Options) *Cache {
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Cache{o: o, metrics: newMetrics(o.Registerer), reads: make(chan *read, maxReads), writes: make(chan write, maxWrites)}
	c.mu.blocks, c.mu.ghosts = newLRU(), newLRU()
	c.mu.pending = map[name]bool{}
	return c
}

func newLRU() *simplelru.LRU[name, int64] {
	lru, err := simplelru.NewLRU[name, int64](math.MaxInt32, nil)
	if err != nil {
		panic(err) // only for a size that is not positive
	}
	return lru
}

// Get returns the content of the block at a position of an object, in memory that the caller owns.
// It returns nil if the cache does not have the block, or the disk is too slow.
func (c *Cache) Get(ctx context.Context, object string, at int64, size int, crc32c uint32) []byte {
	r := &read{name: nameOf(object, at), size: size, crc32c: crc32c, done: make(chan struct{})}
	if !c.has(r.name) {
		c.metrics.reads.WithLabelValues("miss").Inc()
		return nil
	}
	select {
	case c.reads <- r:
	default:
		c.metrics.reads.WithLabelValues("busy").Inc()
		return nil
	}
	if !stepped.Done(ctx, c.o.Patience, r.done) {
		c.metrics.reads.WithLabelValues("late").Inc()
		return nil
	}
	if r.content != nil {
		c.metrics.reads.WithLabelValues("hit").Inc()
	}
	return r.content
}

// has reports whether the cache has a block, and marks the block as used.
func (c *Cache) has(n name) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.mu.blocks.Get(n)
	return ok && c.mu.running
}

// Fetched records that a block was read from the store. The block is kept if that happens for the
// second time within a while. It does not wait. The content must not change afterwards.
func (c *Cache) Fetched(object string, at int64, content []byte) {
	n, size := nameOf(object, at), int64(len(content))
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, again := c.mu.ghosts.Peek(n); again {
		c.mu.ghosts.Remove(n)
		c.mu.ghost -= old
		c.keepLocked(n, content)
		return
	}
	c.mu.ghosts.Add(n, size)
	c.mu.ghost += size
	for c.mu.ghost > ghostShare*c.o.Bytes || c.mu.ghosts.Len() > maxGhosts {
		_, old, _ := c.mu.ghosts.RemoveOldest()
		c.mu.ghost -= old
	}
}

// Put keeps a block. It does not wait, and may drop the block. The content must not change
// afterwards.
func (c *Cache) Put(object string, at int64, content []byte) {
	n := nameOf(object, at)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keepLocked(n, content)
}

// keepLocked queues a block for writing, unless the queue is full or the disk has failed recently.
func (c *Cache) keepLocked(n name, content []byte) {
	switch {
	case !c.mu.running, c.mu.blocks.Contains(n), c.mu.pending[n], int64(len(content)) > c.o.Bytes:
		return
	case time.Now().Before(c.mu.rests):
		c.metrics.writes.WithLabelValues("dropped").Inc()
		return
	}
	select {
	case c.writes <- write{n, content}:
		c.mu.pending[n] = true
	default:
		c.metrics.writes.WithLabelValues("dropped").Inc()
	}
}

// path returns the name of a block's file.
func (c *Cache) path(n name, size int64) string {
	digits := hex.EncodeToString(n[:])
	return filepath.Join(c.o.Dir, digits[:2], fmt.Sprintf("%s-%d", digits[2:], size))
}

// parsePath is the reverse of path. It returns false for a file that is no block.
func parsePath(dir, file string) (n name, size int64, ok bool) {
	digits, bytes, ok := strings.Cut(file, "-")
	if !ok || len(dir) != 2 || len(dir)+len(digits) != 2*len(n) {
		return n, 0, false
	}
	if _, err := hex.Decode(n[:], []byte(dir+digits)); err != nil {
		return n, 0, false
	}
	size, err := strconv.ParseInt(bytes, 10, 64)
	return n, size, err == nil && size > 0
}
