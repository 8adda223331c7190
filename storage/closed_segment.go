package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/varvelog/varve/vfs"
)

// ClosedSegment describes a segment that the remote tier may copy: it does not change any more, is
// wholly below the last stable offset, and is durable.
type ClosedSegment struct {
	BaseOffset int64
	EndOffset  int64 // exclusive: the base of the next segment
	SizeBytes  int64

	log     *Log
	segment *segment
}

// SegmentFiles gives access to the files of a closed segment, byte for byte as on disk.
type SegmentFiles struct {
	Log, Index, TimeIndex *io.SectionReader
	TxnIndex              *io.SectionReader // nil: no transaction was aborted
	// AbortedTxns is the number of transactions whose abort marker is in the segment: the entries
	// of TxnIndex.
	AbortedTxns  int64
	Snapshot     *io.SectionReader // producers at EndOffset, whole and sound; never nil
	LeaderEpochs []EpochEntry      // all that begin below EndOffset
}

// ClosedSegments lists, in ascending order, the closed segments that end above from and are wholly
// below both the last stable offset and the flushed offset. The object store must never be ahead of
// the disk: after a power cut the log would end below it, and give its offsets to other records.
func (l *Log) ClosedSegments(from int64) []ClosedSegment {
	limit := min(l.LastStableOffset(), l.FlushedOffset())
	list := l.list()
	var closed []ClosedSegment
	for i, s := range list[:len(list)-1] {
		end := list[i+1].base
		if end <= from {
			continue
		}
		if end > limit {
			break
		}
		if s.refs.Load() == 0 { // deleted since the list was loaded
			continue
		}
		closed = append(closed, ClosedSegment{BaseOffset: s.base, EndOffset: end, SizeBytes: s.size.Load(), log: l, segment: s})
	}
	return closed
}

// Since returns when the segment's first record was appended, at the latest. It returns the zero
// time if that is not known.
func (c ClosedSegment) Since() time.Time {
	if !c.segment.acquire() {
		return time.Time{}
	}
	defer c.segment.release()
	ms, err := c.segment.sinceMs()
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// NewestMs returns the timestamp of the segment's newest record, in unix ms. If no record has one,
// it is the file's modification time.
func (c ClosedSegment) NewestMs() (int64, error) {
	if !c.segment.acquire() {
		return 0, fmt.Errorf("read the time of segment %d of %s: %w: it was deleted", c.BaseOffset, c.log.key, ErrOffsetOutOfRange)
	}
	defer c.segment.release()
	return c.segment.newestMs()
}

// Open pins the segment's files and opens them. release, to be called exactly once, closes and
// unpins them. ErrOffsetOutOfRange means that the segment was deleted since it was listed.
func (c ClosedSegment) Open() (files SegmentFiles, release func(), err error) {
	if !c.segment.acquire() {
		return files, nil, fmt.Errorf("open segment %d of %s: %w: it was deleted", c.BaseOffset, c.log.key, ErrOffsetOutOfRange)
	}
	undo := []func(){c.segment.release}
	release = func() {
		for i := range undo {
			undo[len(undo)-1-i]()
		}
	}
	open := func(f *cachedFile, size int64) *io.SectionReader {
		if err != nil {
			return nil
		}
		var file vfs.File
		if file, err = f.acquire(false); err != nil {
			return nil
		}
		undo = append(undo, f.release)
		return io.NewSectionReader(file, 0, size)
	}
	s := c.segment
	var own vfs.File
	var closeOwn func()
	if own, closeOwn, err = c.openOwn(); err == nil {
		undo = append(undo, closeOwn)
		files.Log = io.NewSectionReader(own, 0, c.SizeBytes)
	}
	files.Index = open(&s.index.file, int64(s.index.count())*offsetEntrySize)
	files.TimeIndex = open(&s.times.file, int64(s.times.count())*timeEntrySize)
	if files.AbortedTxns = s.txns.count(); files.AbortedTxns > 0 {
		files.TxnIndex = open(&s.txns.file, files.AbortedTxns*abortedTxnSize)
	}
	if err == nil {
		files.Snapshot, err = c.snapshot()
	}
	if err != nil {
		release()
		if errors.Is(err, fs.ErrNotExist) && c.segment.doomed.Load() {
			return SegmentFiles{}, nil, fmt.Errorf("open segment %d of %s: %w: it was deleted", c.BaseOffset, c.log.key, ErrOffsetOutOfRange)
		}
		return SegmentFiles{}, nil, fmt.Errorf("open segment %d of %s: %w", c.BaseOffset, c.log.key, classify(err))
	}
	files.LeaderEpochs = c.log.epochs.below(c.EndOffset)
	return files, release, nil
}

// hotTail is how many bytes at the end of a log stay in the page cache after they were copied: most
// consumers read there. Segments further back are dropped from it after the copy.
const hotTail = 256 << 20

// openOwn opens the .log for one sequential reader that does not need the pages afterwards. The
// File is separate from the one that consumers read through: its advice to the system does not
// affect them.
func (c ClosedSegment) openOwn() (f vfs.File, done func(), err error) {
	names := &c.segment.names
	names.RLock()
	f, err = c.log.env.fs.OpenFile(names.path(extLog), os.O_RDONLY, 0)
	names.RUnlock()
	if err != nil {
		return nil, nil, err
	}
	vfs.AdviseSequential(f)
	return f, func() {
		if c.log.SizeFrom(c.EndOffset) >= c.log.env.hotTail {
			vfs.DropCache(f, 0, c.SizeBytes)
		}
		if err := f.Close(); err != nil {
			c.log.logger.Warn("close a segment that was copied", offsetAttr(c.BaseOffset), errorAttr(err))
		}
	}, nil
}

// snapshot returns the producer state at the segment's end. A missing or damaged file does not mean
// that there are no producers: the state is rebuilt from the batches.
func (c ClosedSegment) snapshot() (*io.SectionReader, error) {
	l := c.log
	// Held so that the log is not moved during the read.
	l.mu.Lock()
	content, err := vfs.ReadFile(l.env.fs, l.snapshotName(c.EndOffset), maxSnapshot)
	l.mu.Unlock()
	if err == nil {
		_, err = decodeSnapshot(content)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt) {
		l.logger.Warn("make producer snapshot again", offsetAttr(c.EndOffset), errorAttr(err))
		content, err = l.producersAt(c.EndOffset)
	}
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(bytes.NewReader(content), 0, int64(len(content))), nil
}
