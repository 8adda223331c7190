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
	// moveBuffer is the number of bytes copied at a time.
	moveBuffer = 64 << 10
	// moveTail is the number of bytes that may be missing from the copy when the log stops for the
	// switch.
	moveTail = 1 << 20
)

// moveCopy copies a log, segment by segment, to the directory of a move. The caller holds the log's
// cleaning token, so that segments are not truncated or replaced during the copy; retention may
// delete them. The content of what was copied is durable, the file names are not.
type moveCopy struct {
	move     *move
	log      *Log
	fs       vfs.FS
	pace     func(ctx context.Context, n int) error
	segments map[int64]*copiedSegment // by base
	buf      []byte
}

// copiedSegment is the state of one segment's copy.
type copiedSegment struct {
	bytes  int64
	closed bool // the segment no longer changes, and all its files are copied
}

func (c *moveCopy) path(name string) string { return filepath.Join(c.move.future, name) }

// clear removes what an earlier attempt has left.
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

// run copies until at most moveTail bytes are missing, while appends continue.
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

// pinned copies a segment. It does nothing if the segment was deleted in the meantime.
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

// segment copies the missing part of a segment. closed means that the segment no longer changes.
func (c *moveCopy) segment(ctx context.Context, s *segment, closed bool) error {
	done := c.segments[s.base]
	if done == nil {
		done = &copiedSegment{}
		c.segments[s.base] = done
	}
	if done.closed {
		return nil
	}
	// In this order: the writer stores end before size, so end may be too low here but never too
	// high.
	end, size := s.end.Load(), s.size.Load()
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

// logFile extends the copy of a .log to size bytes, durably.
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

// synced fails the target directory if a sync has failed.
func (c *moveCopy) synced(err error) error {
	if err == nil || passing(err) {
		return classify(err)
	}
	c.move.to.fail(err)
	return c.move.to.err()
}

// hints copies the indexes of a segment that no longer changes, with the entries that are only in
// memory, and the producer snapshot at its first offset.
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

// write creates a file. Its content is durable, its name is not.
func (c *moveCopy) write(name string, content []byte) error {
	if err := vfs.WriteFile(c.fs, c.path(name), content, 0o644); err != nil {
		return err
	}
	return c.synced(vfs.SyncFile(c.fs, c.path(name)))
}

// completeLocked brings the copy up to the log's end and returns the segments of the new place:
// copies of the log's segments, all closed, and an empty active one. Because the active one is
// empty, nothing of the old active segment's state has to be carried over. Nothing is written to
// the present directory: it may be full. The caller holds Log.mu, so that the end stays.
func (c *moveCopy) completeLocked(path string) (segmentList, error) {
	l := c.log
	list, end, cfg := l.list(), l.offsets.end.Load(), l.config.Load()
	base := end
	if list.active().size.Load() == 0 {
		base = list.active().base // there may be a gap between the base and the end
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
	for _, at := range []int64{base, end} { // there is no batch between the two
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

// removeDeleted removes the copy of a segment that retention has deleted in the meantime.
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

// movedSegment returns a closed segment whose files are copies of those of another one.
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
