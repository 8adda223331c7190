package storage

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/invariants"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// segment is a run of the log in one .log file, with its indexes. The last segment of a log is
// active and grows under Log.mu; all others are closed and no longer change. Readers need no lock:
// they pin the segment (acquire), load size, and read below it.
type segment struct {
	env   *env
	base  int64
	names segmentNames

	file  cachedFile // the .log
	index offsetIndex
	times timeIndex
	txns  txnIndex

	// size is the number of bytes that readers may see, end the offset after them. The writer
	// stores end, then size, then the log's end; readers load in the opposite order. Therefore
	// every batch below the log's end is below size, and every batch below size is below end.
	size atomic.Int64
	end  atomic.Int64

	// began is when the first record was written, in unix ms. 0: not known yet, see sinceMs.
	began atomic.Int64

	// refs counts the segment list, readers and flushes. At 0 the files are closed, and removed if
	// doomed. doomed is set before the list gives up a deleted segment.
	refs   atomic.Int64
	doomed atomic.Bool

	largest struct {
		invariants.Mutex[rankLargest]
		// known is false for a closed segment that was found at the start and not asked since.
		known bool
		at    TimestampOffset
	}

	// Log.mu guards the rest.
	created      time.Time // when it became active, or was found
	firstTime    int64     // largest timestamp of the first batch; -1: none
	firstKnown   bool      // false: firstTime was not read yet
	jitter       int64     // ms by which it rolls before segment.ms
	sinceIndex   int64     // bytes since the last index entry
	indexEvery   int64     // index.interval.bytes when it was opened
	preallocated bool      // space beyond its end is reserved
	synced       int64     // bytes of the .log known to be durable
	writtenBack  int64     // bytes of the .log whose write-back was requested
	indexDurable bool      // closed, and all its files are durable
}

func (e *env) newSegment(dir string, base int64, cfg *Config, now time.Time) *segment {
	s := &segment{base: base, created: now, firstTime: record.NoTimestamp, indexEvery: cfg.IndexIntervalBytes, env: e}
	// A larger jitter would close it at once.
	if most := min(cfg.SegmentJitterMs, cfg.maxSegmentMs()); most > 0 {
		s.jitter = rand.Int64N(most)
	}
	s.names.dir, s.names.base = dir, base
	s.file.cache, s.file.names, s.file.ext = &e.files, &s.names, extLog
	s.txns.file.cache, s.txns.file.names, s.txns.file.ext = &e.files, &s.names, extTxnIndex
	s.index.base, s.times.base = base, base
	s.index.init(cachedFileInit{&e.files, &s.names, extIndex}, offsetEntrySize, 0)
	s.times.init(cachedFileInit{&e.files, &s.names, extTimeIndex}, timeEntrySize, 0)
	s.largest.known = true
	s.largest.at = TimestampOffset{Offset: base, Timestamp: record.NoTimestamp, LeaderEpoch: -1}
	s.end.Store(base)
	s.refs.Store(1)
	return s
}

// rollAfterMs returns the age in ms at which the segment is closed. A jitter drawn under settings
// with a larger bound would close it at once, and is ignored.
func (s *segment) rollAfterMs(cfg *Config) int64 {
	most := cfg.maxSegmentMs()
	if s.jitter >= most {
		return most
	}
	return most - s.jitter
}

// acquire pins the segment. It returns false if the segment is gone: the caller loads the list
// again.
func (s *segment) acquire() bool {
	for {
		n := s.refs.Load()
		if n == 0 {
			return false
		}
		if s.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// release undoes acquire, or gives up the list's reference.
func (s *segment) release() {
	if s.refs.Add(-1) == 0 {
		s.closeFiles()
		s.env.segmentUnused(s)
	}
}

func (s *segment) closeFiles() {
	for _, f := range s.files() {
		f.close()
	}
}

func (s *segment) files() [4]*cachedFile {
	return [4]*cachedFile{&s.file, &s.index.file, &s.times.file, &s.txns.file}
}

// createFile creates the .log, so that the log's end survives a restart even if nothing is written.
func (s *segment) createFile() error {
	_, err := s.file.acquire(true)
	if err != nil {
		return err
	}
	s.file.release()
	return nil
}

// write appends bytes to the file. After err the file is as before. After brokenErr too, the file
// could not be restored and its content is unknown: the caller must fail the directory.
func (s *segment) write(b []byte) (err, brokenErr error) {
	f, err := s.file.acquire(true)
	if err != nil {
		return err, nil
	}
	defer s.file.release()
	size := s.size.Load()
	if _, err = f.WriteAt(b, size); err != nil {
		return err, f.Truncate(size)
	}
	return nil, nil
}

// note enters a batch at pos into the indexes; the batch was just written, or found by recovery.
// The caller publishes size and end afterwards.
func (s *segment) note(b record.Batch, pos int64) {
	if pos == 0 {
		s.firstTime, s.firstKnown = b.MaxTimestamp(), true
	}
	s.largest.Lock()
	if ts := newestIn(b); ts > s.largest.at.Timestamp {
		s.largest.at = TimestampOffset{Timestamp: ts, Offset: b.LastOffset(), LeaderEpoch: -1}
	}
	largest := s.largest.at
	s.largest.Unlock()
	if s.sinceIndex > s.indexEvery {
		s.index.append(b.LastOffset(), pos)
		// This fails only if the file's last entry cannot be read. A missing entry costs a longer
		// scan, and seal reports the error.
		_ = s.times.maybeAppend(largest)
		s.sinceIndex = 0
	}
	s.sinceIndex += int64(b.Size())
}

// newestIn returns the batch's largest timestamp. A batch without records, which compaction leaves,
// has none that a lookup could find.
func newestIn(b record.Batch) int64 {
	if b.Count() == 0 {
		return record.NoTimestamp
	}
	return b.MaxTimestamp()
}

// seal brings the files to the state of a closed segment: all entries are in the files, and
// reserved space is given back. The last time entry has the largest timestamp, as in Kafka. It does
// not sync.
func (s *segment) seal() error {
	if err := s.times.maybeAppend(s.largest.at); err != nil {
		return err
	}
	return errors.Join(s.persistIndexes(), s.trim())
}

// persistIndexes writes to the index files the entries that are only in memory.
func (s *segment) persistIndexes() error {
	return errors.Join(s.index.persist(), s.times.persist(), s.txns.persist())
}

// modified returns when the .log was last written, by its file's time.
func (s *segment) modified() (time.Time, error) {
	s.names.RLock()
	defer s.names.RUnlock()
	info, err := s.file.cache.fs.Stat(s.names.path(extLog))
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// scan visits the batches from a position on; a batch must begin there. visit gets the header only
// and returns whether to continue.
func (s *segment) scan(from, to int64, visit func(header record.Batch, pos int64) (more bool, err error)) error {
	if from >= to {
		return nil
	}
	f, err := s.file.acquire(false)
	if err != nil {
		return err
	}
	defer s.file.release()
	page := pages.Get().(*[8192]byte)
	defer pages.Put(page)
	sc := scanBatches(f, from, to, page[:])
	for {
		header, pos, err := sc.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("scan %s: %w", fileName(s.base, extLog), err)
		}
		more, err := visit(header, pos)
		if err != nil || !more {
			return err
		}
	}
}

// locate returns the first batch that ends at or after offset among the first size bytes. found is
// false if all end before. The index is only a hint: if its entry cannot be right the scan begins
// at 0.
func (s *segment) locate(offset, size int64) (loc location, found bool, err error) {
	from, err := s.index.lookup(offset)
	if err != nil || from < 0 {
		from = 0
	}
	trusted := from == 0
	visit := func(h record.Batch, pos int64) (bool, error) {
		if !trusted {
			if h.BaseOffset() > offset || h.BaseOffset() < s.base {
				return false, ErrCorrupt
			}
			trusted = true
		}
		if h.LastOffset() < offset {
			return true, nil
		}
		loc, found = location{pos: pos, size: int64(h.Size()), base: h.BaseOffset(), last: h.LastOffset(), maxTimestamp: h.MaxTimestamp()}, true
		return false, nil
	}
	if from < size {
		err = s.scan(from, size, visit)
	}
	if from > 0 && (err != nil || from >= size) {
		trusted, found = true, false
		err = s.scan(0, size, visit)
	}
	return loc, found, err
}

// endBefore returns the offset after the last batch before pos. pos is the position of the first
// batch at or above offset, or the segment's size.
func (s *segment) endBefore(offset, pos int64) (int64, error) {
	from, err := s.index.lookup(offset - 1)
	if err != nil || from < 0 || from >= pos {
		from = 0
	}
	end := s.base
	visit := func(h record.Batch, _ int64) (bool, error) {
		if h.BaseOffset() < end || h.BaseOffset() >= offset {
			return false, ErrCorrupt
		}
		end = h.NextOffset()
		return true, nil
	}
	err = s.scan(from, pos, visit)
	if err != nil && from > 0 { // the entry was wrong
		end = s.base
		err = s.scan(0, pos, visit)
	}
	return end, err
}

// location is the place of a batch in a segment.
type location struct {
	pos, size    int64
	base, last   int64
	maxTimestamp int64
}

// readBatch reads a whole batch whose header has been read.
func (s *segment) readBatch(pos, size int64) (record.Batch, error) {
	f, err := s.file.acquire(false)
	if err != nil {
		return nil, err
	}
	defer s.file.release()
	b := make([]byte, size)
	if _, err = f.ReadAt(b, pos); err != nil {
		return nil, fmt.Errorf("read batch at %d of %s: %w", pos, fileName(s.base, extLog), err)
	}
	return record.Batch(b), nil
}

// markDeleted renames the files so that a restart does not find them. n makes the names unique,
// because a base offset may return after a truncation. The .log is renamed first and decides:
// without it the next start removes the others.
func (s *segment) markDeleted(fsys vfs.FS, n int64) error {
	suffix := "." + strconv.FormatInt(n, 10) + suffixDeleted
	s.names.Lock()
	defer s.names.Unlock()
	for _, ext := range []string{extLog, extIndex, extTimeIndex, extTxnIndex} {
		plain := filepath.Join(s.names.dir, fileName(s.base, ext))
		if err := ignoreNotExist(fsys.Rename(plain+s.names.suffix, plain+suffix)); err != nil && ext == extLog {
			return err
		}
	}
	s.names.suffix = suffix
	s.doomed.Store(true)
	return nil
}

// rename changes the suffix of the files, in the order of exts, and stops at the first that cannot
// be renamed. The segment uses the new names in any case.
func (s *segment) rename(fsys vfs.FS, suffix string, exts ...string) error {
	s.names.Lock()
	defer s.names.Unlock()
	old := s.names.suffix
	s.names.suffix = suffix
	for _, ext := range exts {
		plain := filepath.Join(s.names.dir, fileName(s.base, ext))
		if err := ignoreNotExist(fsys.Rename(plain+old, plain+suffix)); err != nil {
			return err
		}
	}
	return nil
}

// removeFiles removes the files of a segment that was marked as deleted.
func (s *segment) removeFiles(fsys vfs.FS) error {
	s.names.Lock()
	defer s.names.Unlock()
	var err error
	for _, ext := range []string{extLog, extIndex, extTimeIndex, extTxnIndex} {
		err = errors.Join(err, ignoreNotExist(fsys.Remove(s.names.path(ext))))
	}
	return err
}
