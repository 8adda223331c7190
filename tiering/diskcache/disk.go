package diskcache

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/varvelog/varve/stepped"
	"github.com/varvelog/varve/vfs"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Run reads the directories, and then reads and writes blocks until ctx ends. It owns all
// goroutines, and is called once. A disk that cannot be used is logged and is no error: the cache
// is then empty.
func (c *Cache) Run(ctx context.Context) error {
	unlock, err := c.open(ctx)
	if err != nil {
		c.o.Logger.Error("the disk cache of the remote tier cannot be used", slog.String("dir", c.o.Dir), slog.Any("error", err))
		return nil
	}
	var others sync.WaitGroup
	for range readers {
		stepped.Go(ctx, &others, c.read)
	}
	for range writers - 1 {
		stepped.Go(ctx, &others, c.write)
	}
	c.write(ctx)
	others.Wait()
	c.setRunning(false)
	return unlock()
}

func (c *Cache) setRunning(running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.running = running
}

// open locks the directory and finds the blocks in it. It removes what interrupted writes have
// left, and blocks beyond the cache's bytes.
func (c *Cache) open(ctx context.Context) (unlock func() error, err error) {
	if err = c.o.FS.MkdirAll(c.o.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory: %w", err)
	}
	lock, err := c.o.FS.Lock(filepath.Join(c.o.Dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("lock the directory: %w", err)
	}
	for i := range 256 {
		if err = c.openDir(fmt.Sprintf("%02x", i)); err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}
	c.setRunning(true)
	if err = c.makeRoom(0); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock.Close, nil
}

func (c *Cache) openDir(dir string) error {
	full := filepath.Join(c.o.Dir, dir)
	if err := c.o.FS.MkdirAll(full, 0o755); err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	entries, err := c.o.FS.ReadDir(full)
	if err != nil {
		return fmt.Errorf("read a directory: %w", err)
	}
	for _, e := range entries {
		n, size, ok := parsePath(dir, e.Name())
		if !ok {
			if err = c.o.FS.Remove(filepath.Join(full, e.Name())); err != nil {
				return fmt.Errorf("remove what is no block: %w", err)
			}
			continue
		}
		c.add(n, size)
	}
	return nil
}

// add records a block that has a file.
func (c *Cache) add(n name, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.mu.blocks.Peek(n); ok {
		c.mu.bytes -= old
	}
	c.mu.blocks.Add(n, size)
	c.mu.bytes += size
	delete(c.mu.pending, n)
	c.metrics.bytes.Set(float64(c.mu.bytes))
}

// takeOldest forgets the least recently used block, if the blocks and more bytes exceed the limit.
func (c *Cache) takeOldest(more int64) (n name, size int64, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.bytes+more <= c.o.Bytes {
		return n, 0, false
	}
	n, size, ok = c.mu.blocks.RemoveOldest()
	c.mu.bytes -= size
	c.metrics.bytes.Set(float64(c.mu.bytes))
	return n, size, ok
}

// makeRoom removes blocks until the given number of bytes fits. A block that cannot be
// removed still counts.
func (c *Cache) makeRoom(bytes int64) error {
	for {
		n, size, ok := c.takeOldest(bytes)
		if !ok {
			return nil
		}
		if err := c.o.FS.Remove(c.path(n, size)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.add(n, size)
			return fmt.Errorf("remove a block: %w", err)
		}
	}
}

// read is a worker that reads blocks.
func (c *Cache) read(ctx context.Context) {
	for {
		r, ok := stepped.Receive(ctx, -1, c.reads)
		if !ok {
			return
		}
		c.readBlock(r)
		close(r.done)
	}
}

func (c *Cache) readBlock(r *read) {
	path := c.path(r.name, int64(r.size))
	b, err := vfs.ReadFile(c.o.FS, path, 2*int64(r.size))
	switch {
	case errors.Is(err, fs.ErrNotExist): // it was just evicted, or has another size, or was removed
		c.metrics.reads.WithLabelValues("miss").Inc()
		c.drop(r.name, int64(r.size))
	case err != nil:
		c.metrics.reads.WithLabelValues("failed").Inc()
		c.failed(err)
	case len(b) == r.size && crc32.Checksum(b, castagnoli) == r.crc32c:
		r.content = b
	default:
		c.metrics.reads.WithLabelValues("damaged").Inc()
		c.drop(r.name, int64(r.size))
	}
}

// drop removes a block of that size that is damaged, or whose file was removed by someone else. The
// file goes before the entry: until then no writer writes the block again, so that no file is left
// that does not count. A block that cannot be removed is evicted in its turn.
func (c *Cache) drop(n name, size int64) {
	if !c.holds(n, size) {
		return
	}
	if err := c.o.FS.Remove(c.path(n, size)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.failed(err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.blocks.Remove(n) {
		c.mu.bytes -= size
		c.metrics.bytes.Set(float64(c.mu.bytes))
	}
}

// holds reports whether there is a block with that name and size.
func (c *Cache) holds(n name, size int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	had, ok := c.mu.blocks.Peek(n)
	return ok && had == size
}

// write is a worker that writes blocks.
func (c *Cache) write(ctx context.Context) {
	for {
		w, ok := stepped.Receive(ctx, -1, c.writes)
		if !ok {
			return
		}
		if err := c.writeBlock(w); err != nil {
			c.metrics.writes.WithLabelValues("failed").Inc()
			c.forget(w.name)
			c.failed(err)
			continue
		}
		c.metrics.writes.WithLabelValues("written").Inc()
		c.works()
	}
}

func (c *Cache) writeBlock(w write) error {
	size := int64(len(w.content))
	if err := c.makeRoom(size); err != nil {
		return err
	}
	if err := vfs.ReplaceFile(c.o.FS, c.path(w.name, size), w.content, 0o644, false); err != nil {
		return fmt.Errorf("write a block: %w", err)
	}
	c.add(w.name, size)
	return c.makeRoom(0) // several writers may have made room at once
}

// forget removes a block from those that are queued for writing.
func (c *Cache) forget(n name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.mu.pending, n)
}

// failed stops writes to the disk for restAfterFailure. Only the first failure in a row is logged.
func (c *Cache) failed(err error) {
	c.mu.Lock()
	was := c.mu.failing
	c.mu.failing, c.mu.rests = true, time.Now().Add(restAfterFailure)
	c.mu.Unlock()
	if !was {
		c.o.Logger.Warn("the disk cache of the remote tier fails; the object store is read in its place", slog.String("dir", c.o.Dir), slog.Any("error", err))
	}
}

// works records that a write has succeeded, and logs it after a failure.
func (c *Cache) works() {
	c.mu.Lock()
	was := c.mu.failing
	c.mu.failing = false
	c.mu.Unlock()
	if was {
		c.o.Logger.Info("the disk cache of the remote tier works again", slog.String("dir", c.o.Dir))
	}
}
