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

// segment is a run of the log in one .log file with its indexes. The last
// segment of a log is active and grows under the log's lock; all others are
// closed and change no more. Readers need no lock: they pin it (acquire), take
// size, and read below that.
type segment struct {
	env   *env
	base  int64
	names segmentNames

	file  cachedFile // the .log
	index offsetIndex
	times timeIndex
	txns  txnIndex

	// size is how many bytes readers may see, end the offset after them. The
	// writer stores end, then size, then the log's end; readers load in the
	// opposite order. So what lies below the log's end is below size, and all
	// that is below size is below end.
	size atomic.Int64
	end  atomic.Int64

	// began is when the first record was written, in unix ms; 0: not known yet, see sinceMs.
	began atomic.Int64

	// refs counts the segment list, readers and flushes. At 0 the files are
	// closed, and removed if doomed.
	refs   atomic.Int64
	doomed atomic.Bool

	largest struct {
		invariants.Mutex[rankLargest]
		known bool // false: closed and not asked for since the start
		at    TimestampOffset
	}

	// The rest belongs to the log's lock.
	created      time.Time // when it became active, or was found
	firstTime    int64     // largest timestamp of the first batch; -1 none
	firstKnown   bool      // false: firstTime was not read yet
	jitter       int64     // ms that it rolls earlier than segment.ms
	sinceIndex   int64     // bytes since the last index entry
	indexEvery   int64     // index.interval.bytes when it was opened
	preallocated bool      // space behind its end is reserved
	synced       int64     // bytes of the .log known to be durable
	writtenBack  int64     // bytes of the .log that are on their way to the disk, at least
	indexDurable bool      // closed, and all its files are durable
}

func (e *env) newSegment(dir string, base int64, cfg *Config, now time.Time) *segment {
	s := &segment{base: base, created: now, firstTime: record.NoTimestamp, indexEvery: cfg.IndexIntervalBytes, env: e}
	if most := min(cfg.SegmentJitterMs, cfg.maxSegmentMs()); most > 0 { // more would close it at once
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

// rollAfterMs is the age at which the segment is closed. A jitter that was drawn
// under settings with a larger bound would close it at once, and is left out.
func (s *segment) rollAfterMs(cfg *Config) int64 {
	most := cfg.maxSegmentMs()
	if s.jitter >= most {
		return most
	}
	return most - s.jitter
}

// acquire pins the segment; false says that it is gone and the list must be loaded anew.
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

// release undoes acquire, or the reference of the list.
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

// createFile makes the .log exist, so that the log's end survives a restart
// even if nothing is written.
func (s *segment) createFile() error {
	_, err := s.file.acquire(true)
	if err != nil {
		return err
	}
	s.file.release()
	return nil
}

// write puts bytes behind the present end. On an error the file is as before,
// or brokenErr is set: nobody knows what it is.
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

// note enters a batch at pos, just written or found by recovery, into the
// indexes. The caller publishes size and end.
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
		// Fails only if the file's last entry cannot be read; an entry less
		// costs a longer scan, and seal will tell.
		_ = s.times.maybeAppend(largest)
		s.sinceIndex = 0
	}
	s.sinceIndex += int64(b.Size())
}

// newestIn is the batch's largest timestamp. One without records, which
// compaction leaves, has none that a lookup could find.
func newestIn(b record.Batch) int64 {
	if b.Count() == 0 {
		return record.NoTimestamp
	}
	return b.MaxTimestamp()
}

// seal brings the files to what a closed segment has: the last time entry is
// the largest timestamp, as Kafka does when it closes or rolls a segment, and
// no space is reserved any more.
func (s *segment) seal() error {
	if err := s.times.maybeAppend(s.largest.at); err != nil {
		return err
	}
	return errors.Join(s.persistIndexes(), s.trim())
}

// persistIndexes writes to the index files what they lack.
func (s *segment) persistIndexes() error {
	return errors.Join(s.index.persist(), s.times.persist(), s.txns.persist())
}

// modified is when the .log was last written, by its file's time.
func (s *segment) modified() (time.Time, error) {
	s.names.RLock()
	defer s.names.RUnlock()
	info, err := s.file.cache.fs.Stat(s.names.path(extLog))
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}

// scan walks over the batches from a position of which the caller knows that a
// batch starts there. visit gets headers only and says whether to go on.
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

// locate finds the first batch that ends at or after offset among the first
// size bytes. found is false if all end before. The index is only a hint: if
// what it points to cannot be right, the scan starts at the beginning.
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

// endBefore is where the batches end that are before pos, which is that of the
// first batch at or above offset, or the segment's size.
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
	if err != nil && from > 0 { // not a good entry
		end = s.base
		err = s.scan(0, pos, visit)
	}
	return end, err
}

// location is where a batch is.
type location struct {
	pos, size    int64
	base, last   int64
	maxTimestamp int64
}

// readBatch reads a whole batch whose header has been seen.
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

// markDeleted renames the files so that a restart does not find them again. n
// makes the names unique: after a truncation a base offset comes again. The
// .log's name decides: without it, the others are removed at the next start.
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

// rename gives the files another suffix, in the order of exts, up to the first
// that cannot be renamed. The segment goes by the new names in any case.
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
