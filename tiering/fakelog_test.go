package tiering

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
)

// fakeLog is a localLog in memory: closed segments with Kafka's indexes, and an active segment with
// what was appended last. It keeps every batch forever, so that tests can compare.
type fakeLog struct {
	t *testing.T

	mu sync.Mutex
	// onRemoteEnd is called before the log gets a new remote end.
	onRemoteEnd func(offset int64)
	start, end  int64
	remoteEnd   int64
	localStart  int64
	segments    []fakeSegment
	batches     []record.Batch
	opened      int
	aborted     []storage.AbortedTxn // of the whole log; set before the segments are closed
	noSnapshots bool                 // segments have no producer snapshot
}

type fakeSegment struct {
	base, end, maxTimestamp int64
	log, index, timeIndex   []byte // Kafka's indexes are only stored, never read
	epochs                  []storage.EpochEntry
	aborted                 []storage.AbortedTxn
	closedAt                time.Time // and all its records were appended
}

func newFakeLog(t *testing.T) *fakeLog {
	t.Helper()
	return &fakeLog{t: t, remoteEnd: -1}
}

func (l *fakeLog) StartOffset() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.start }
func (l *fakeLog) LocalStartOffset() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.localStart
}
func (l *fakeLog) EndOffset() int64 { l.mu.Lock(); defer l.mu.Unlock(); return l.end }
func (l *fakeLog) EpochEntries() []storage.EpochEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epochsLocked(l.end)
}

func (l *fakeLog) closedSegments(from int64) []closedSegment {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []closedSegment
	for _, s := range l.segments {
		if s.end <= from {
			continue
		}
		closed := closedSegment{baseOffset: s.base, endOffset: s.end, bytes: int64(len(s.log))}
		closed.since = func() time.Time { return s.closedAt }
		closed.newestMs = func() (int64, error) { return s.maxTimestamp, nil }
		closed.open = func() (storage.SegmentFiles, func(), error) {
			l.mu.Lock()
			l.opened++
			l.mu.Unlock()
			released := false
			files := storage.SegmentFiles{
				Log: section(s.log), Index: section(s.index), TimeIndex: section(s.timeIndex),
				LeaderEpochs: s.epochs,
			}
			if n := len(s.aborted); n > 0 {
				files.AbortedTxns, files.TxnIndex = int64(n), section(encodeAborted(s.aborted))
			}
			if !l.noSnapshots {
				files.Snapshot = section([]byte("snapshot"))
			}
			return files, func() {
				if released {
					l.t.Error("files released twice")
				}
				released = true
				l.mu.Lock()
				l.opened--
				l.mu.Unlock()
			}, nil
		}
		out = append(out, closed)
	}
	return out
}

func (l *fakeLog) WaitsSince(offset int64) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.end > offset {
			return s.closedAt
		}
	}
	return time.Time{}
}

func (l *fakeLog) SizeFrom(offset int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := int64(0)
	for _, s := range l.segments {
		if s.base >= offset {
			n += int64(len(s.log))
		}
	}
	return n
}

func (l *fakeLog) SetRemoteEndOffset(offset int64) {
	if l.onRemoteEnd != nil {
		l.onRemoteEnd(offset)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remoteEnd = offset
}

func (l *fakeLog) AdvanceStartOffset(offset int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset > l.end {
		return fmt.Errorf("advance to %d beyond the end %d", offset, l.end)
	}
	l.start = max(l.start, offset)
	return nil
}

// restarted returns the same log after a restart: what is not on disk is lost.
func (l *fakeLog) restarted() *fakeLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &fakeLog{t: l.t, start: l.start, localStart: l.localStart, end: l.end, remoteEnd: -1, segments: l.segments, batches: l.batches, aborted: l.aborted}
}

// segmentSpec describes the content of a closed segment.
type segmentSpec struct {
	batches, records, valueBytes int
	epoch                        int32
	timestamp                    func(offset int64) int64
	codec                        record.Codec
}

// appendSegment closes a segment with these batches.
func (l *fakeLog) appendSegment(spec segmentSpec) {
	l.t.Helper()
	if spec.timestamp == nil {
		spec.timestamp = func(offset int64) int64 { return 1000 + offset }
	}
	rng := rand.New(rand.NewPCG(uint64(l.end), 1))
	var batches []record.Batch
	next := l.end
	for range max(spec.batches, 1) {
		b := record.Builder{BaseOffset: next, LeaderEpoch: spec.epoch, Codec: spec.codec}
		for range max(spec.records, 1) {
			value := make([]byte, max(spec.valueBytes, 1))
			for i := range value {
				value[i] = byte(rng.IntN(256))
			}
			b.Append(spec.timestamp(next), fmt.Appendf(nil, "key-%d", next), value)
			next++
		}
		batch, err := b.Build()
		if err != nil {
			l.t.Fatal(err)
		}
		batches = append(batches, batch)
	}
	l.closeSegment(batches)
}

// closeSegment appends the batches as a closed segment, indexed at every third batch.
func (l *fakeLog) closeSegment(batches []record.Batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = append(l.batches, batches...)
	l.addSegmentLocked(batches)
	l.end = batches[len(batches)-1].NextOffset()
}

func (l *fakeLog) addSegmentLocked(batches []record.Batch) {
	s := fakeSegment{base: batches[0].BaseOffset(), end: batches[len(batches)-1].NextOffset(), maxTimestamp: -1, closedAt: time.Now()}
	epochs := l.epochsLocked(s.end)
	s.epochs = epochs
	for i, b := range batches {
		if b.MaxTimestamp() > s.maxTimestamp {
			s.maxTimestamp = b.MaxTimestamp()
			if i%2 == 0 || i == len(batches)-1 {
				s.timeIndex = binary.BigEndian.AppendUint64(s.timeIndex, uint64(s.maxTimestamp))
				s.timeIndex = binary.BigEndian.AppendUint32(s.timeIndex, uint32(b.LastOffset()-s.base))
			}
		}
		if i%3 == 2 {
			s.index = binary.BigEndian.AppendUint32(s.index, uint32(b.LastOffset()-s.base))
			s.index = binary.BigEndian.AppendUint32(s.index, uint32(len(s.log)))
		}
		s.log = append(s.log, b...)
	}
	for _, t := range l.aborted {
		if t.LastOffset >= s.base && t.LastOffset < s.end {
			s.aborted = append(s.aborted, t)
		}
	}
	l.segments = append(l.segments, s)
}

// encodeAborted returns the content of a .txnindex file.
func encodeAborted(txns []storage.AbortedTxn) []byte {
	var b []byte
	for _, t := range txns {
		b = binary.BigEndian.AppendUint16(b, 0)
		for _, v := range []int64{t.ProducerID, t.FirstOffset, t.LastOffset, t.LastStableOffset} {
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		}
	}
	return b
}

func (l *fakeLog) epochsLocked(end int64) []storage.EpochEntry {
	var out []storage.EpochEntry
	for _, b := range l.batches {
		if b.BaseOffset() < end && (len(out) == 0 || out[len(out)-1].Epoch < b.LeaderEpoch()) {
			out = append(out, storage.EpochEntry{Epoch: b.LeaderEpoch(), StartOffset: b.BaseOffset()})
		}
	}
	return out
}

// resegment cuts the same batches into segments of n batches each.
func (l *fakeLog) resegment(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = nil
	for chunk := range slices.Chunk(l.batches, n) {
		l.addSegmentLocked(chunk)
	}
}

// want returns all batches from the one that contains offset up to end.
func (l *fakeLog) want(offset, end int64) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b bytes.Buffer
	for _, batch := range l.batches {
		if batch.LastOffset() >= offset && batch.NextOffset() <= end {
			b.Write(batch)
		}
	}
	return b.Bytes()
}

var _ io.ReadSeeker = (*io.SectionReader)(nil)
