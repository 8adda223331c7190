package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/varvelog/varve/vfs"
)

const (
	// moveBuffer is how many bytes are copied at a time.
	moveBuffer = 64 << 10
	// moveTail is how many bytes may be missing when the log is stopped.
	moveTail = 1 << 20
)

// moveCopy copies a log, segment by segment, to the directory of a move. The
// log's cleaning token is held. What is copied is durable but for its names.
type moveCopy struct {
	move     *move
	log      *Log
	fs       vfs.FS
	pace     func(ctx context.Context, n int) error
	segments map[int64]*copiedSegment // by base
	buf      []byte
}

// copiedSegment is what is there of a segment.
type copiedSegment struct {
	bytes  int64
	closed bool // it changes no more, and all its files are there
}

func (c *moveCopy) path(name string) string { return filepath.Join(c.move.future, name) }

// clear removes what an earlier try has left.
func (c *moveCopy) clear() error {
	entries, err := c.fs.ReadDir(c.move.future)
	if err != nil {
		return classify(err)
	}
	for _, e := range entries {
		if err = c.fs.Remove(c.path(e.Name())); err != nil {
			return classify(err)
		}
	}
	c.move.bytes.Store(0)
	c.move.end.Store(0)
	return nil
}

// run copies until little is missing, however much is appended meanwhile.
func (c *moveCopy) run(ctx context.Context) error {
	for {
		list := c.log.list()
		for i, s := range list {
			if err := c.pinned(ctx, s, i < len(list)-1); err != nil {
				return err
			}
		}
		var missing int64
		for _, s := range c.log.list() {
			missing += s.size.Load()
			if done := c.segments[s.base]; done != nil {
				missing -= done.bytes
			}
		}
		if missing <= moveTail {
			return nil
		}
	}
}

// pinned copies a segment, unless it is deleted meanwhile.
func (c *moveCopy) pinned(ctx context.Context, s *segment, closed bool) error {
	if !s.acquire() {
		return nil
	}
	defer s.release()
	err := c.segment(ctx, s, closed)
	if errors.Is(err, fs.ErrNotExist) && s.doomed.Load() {
		return nil
	}
	return err
}

// segment copies what is missing of a segment; closed says that it changes no more.
func (c *moveCopy) segment(ctx context.Context, s *segment, closed bool) error {
	done := c.segments[s.base]
	if done == nil {
		done = &copiedSegment{}
		c.segments[s.base] = done
	}
	if done.closed {
		return nil
	}
	end, size := s.end.Load(), s.size.Load() // in this order: end may be too low then, not too high
	if size == 0 && !closed {
		return nil // it may have no file yet
	}
	if err := c.logFile(ctx, s, done, size); err != nil {
		return fmt.Errorf("copy segment %d: %w", s.base, classify(err))
	}
	c.move.end.Store(end)
	if !closed {
		return nil
	}
	if err := c.hints(s); err != nil {
		return fmt.Errorf("copy indexes of segment %d: %w", s.base, classify(err))
	}
	done.closed = true
	return nil
}

// logFile brings the copy of a .log to size bytes and to the disk.
func (c *moveCopy) logFile(ctx context.Context, s *segment, done *copiedSegment, size int64) (err error) {
	src, err := s.file.acquire(false)
	if err != nil {
		return err
	}
	defer s.file.release()
	dst, err := c.fs.OpenFile(c.path(fileName(s.base, extLog)), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if done.bytes == size {
		return nil
	}
	for done.bytes < size {
		b := c.buf[:min(int64(len(c.buf)), size-done.bytes)]
		if err = c.pace(ctx, len(b)); err != nil {
			return err
		}
		if err = c.move.to.room.take(int64(len(b))); err != nil {
			return err
		}
		if n, readErr := src.ReadAt(b, done.bytes); n < len(b) {
			if errors.Is(readErr, io.EOF) {
				return fmt.Errorf("%w: file is shorter than %d bytes", ErrCorrupt, size)
			}
			return readErr
		}
		if _, err = dst.WriteAt(b, done.bytes); err != nil {
			return err
		}
		done.bytes += int64(len(b))
		c.move.bytes.Add(int64(len(b)))
	}
	return c.synced(dst.Sync())
}

// synced fails the target for an fsync that failed.
func (c *moveCopy) synced(err error) error {
	if err == nil || passing(err) {
		return classify(err)
	}
	c.move.to.fail(err)
	return c.move.to.err()
}

// hints copies the indexes of a segment that changes no more, and the producer
// snapshot as of its first offset. What is only in memory is written too.
func (c *moveCopy) hints(s *segment) error {
	index, err := s.index.bytes()
	if err != nil {
		return err
	}
	times, err := s.times.bytes()
	if err != nil {
		return err
	}
	txns, err := s.txns.entries()
	if err != nil {
		return err
	}
	var aborted []byte
	for _, t := range txns {
		aborted = t.appendTo(aborted)
	}
	err = errors.Join(c.write(fileName(s.base, extIndex), index), c.write(fileName(s.base, extTimeIndex), times))
	if err == nil && len(aborted) > 0 {
		err = c.write(fileName(s.base, extTxnIndex), aborted)
	}
	if err != nil {
		return err
	}
	name := fileName(s.base, extSnapshot)
	snapshot, err := vfs.ReadFile(c.fs, filepath.Join(c.log.path(), name), maxSnapshot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = c.write(name, snapshot)
	}
	return err
}

// write makes a file, durably but for its name.
func (c *moveCopy) write(name string, content []byte) error {
	if err := vfs.WriteFile(c.fs, c.path(name), content, 0o644); err != nil {
		return err
	}
	return c.synced(vfs.SyncFile(c.fs, c.path(name)))
}

// completeLocked brings the copy to what the log is now, and returns the
// segments that it then consists of: those of the log, closed, and an empty
// active one, so that nothing of the present one need be known but its bytes.
// In the directory that the log is in nothing is written: it may be full.
func (c *moveCopy) completeLocked(path string) (segmentList, error) {
	l := c.log
	list, end, cfg := l.list(), l.offsets.end.Load(), l.config.Load()
	base := end
	if list.active().size.Load() == 0 {
		base = list.active().base // the end may be behind a gap
		list = list[:len(list)-1]
	} else if err := list.active().times.maybeAppend(list.active().largest.at); err != nil {
		return nil, classify(err)
	}
	c.pace = func(context.Context, int) error { return nil }
	var next segmentList
	kept := map[int64]bool{}
	for _, s := range list {
		kept[s.base] = true
		if err := c.segment(context.Background(), s, true); err != nil {
			return nil, err
		}
		next = append(next, l.env.movedSegment(path, s, cfg))
	}
	for base := range c.segments {
		if err := c.removeDeleted(base, kept[base]); err != nil {
			return nil, classify(err)
		}
	}
	epochs, _ := l.epochs.unsaved(end)
	err := c.write(fileName(base, extLog), nil)
	for _, at := range []int64{base, end} { // there is no batch in between
		if err == nil {
			err = c.write(fileName(at, extSnapshot), encodeSnapshot(l.producers.producers))
		}
	}
	if err == nil {
		err = c.write(epochFile, FormatEpochs(epochs))
	}
	if id := l.TopicID(); err == nil && id != ([16]byte{}) {
		err = c.write(metadataFile, (&logMetadata{topicID: id, supersedes: c.move.log.supersedes}).format())
	}
	if err != nil {
		return nil, classify(err)
	}
	if err = c.fs.SyncDir(c.move.future); err != nil {
		return nil, c.synced(err)
	}
	active := l.env.newSegment(path, base, cfg, l.env.now())
	active.end.Store(end)
	return append(next, active), nil
}

// removeDeleted removes the copy of a segment that retention has deleted since.
func (c *moveCopy) removeDeleted(base int64, kept bool) error {
	if kept {
		return nil
	}
	var err error
	for _, ext := range []string{extLog, extIndex, extTimeIndex, extTxnIndex, extSnapshot} {
		err = errors.Join(err, ignoreNotExist(c.fs.Remove(c.path(fileName(base, ext)))))
	}
	return err
}

// movedSegment is a closed segment with the copies of another one's files.
func (e *env) movedSegment(path string, old *segment, cfg *Config) *segment {
	s := e.newSegment(path, old.base, cfg, old.created)
	s.index.init(cachedFileInit{&e.files, &s.names, extIndex}, offsetEntrySize, old.index.count())
	s.times.init(cachedFileInit{&e.files, &s.names, extTimeIndex}, timeEntrySize, old.times.count())
	s.txns.mu.inFile = old.txns.count()
	s.largest.known = false
	s.size.Store(old.size.Load())
	s.end.Store(old.end.Load())
	s.synced, s.indexDurable = s.size.Load(), true
	return s
}
