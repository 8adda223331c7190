package storage

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

func TestReadAtTheEdges(t *testing.T) {
	l := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 400 }).log()
	empty, err := l.Read(0, 100, 0, true)
	if err != nil || empty.Len() != 0 || empty.File() != nil || empty.BaseOffset() != 0 {
		t.Fatalf("%d bytes of an empty log, %v", empty.Len(), err)
	}
	empty.Release()
	fill(t, l, 7)
	for _, offset := range []int64{-1, 8} {
		if _, err = l.Read(offset, 100, 100, true); !errors.Is(err, ErrOffsetOutOfRange) {
			t.Fatalf("offset %d: %v", offset, err)
		}
	}
	one := len(batchOf(1, 50, 0))
	for _, tc := range []struct {
		offset   int64
		maxBytes int
		limit    int64
		minOne   bool
		want     int
	}{
		{7, 1000, 7, true, 0},
		{0, 1000, 0, true, 0},
		{0, 1000, 1, true, one},
		{0, 1000, 100, true, 3 * one}, // up to the end of the segment
		{3, 1000, 5, true, 2 * one},
		{3, one + 20, 7, true, one + 20}, // the last batch may be cut off
		{3, one + 20, 4, true, one},
		{3, 10, 7, true, one},
		{3, 10, 7, false, 0},
		{3, 0, 7, true, one},
		{3, 0, 7, false, 0},
		{6, 1000, 7, false, one},
		{5, 1000, 3, true, 0},
	} {
		s, err := l.Read(tc.offset, tc.maxBytes, tc.limit, tc.minOne)
		if err != nil || s.Len() != tc.want || s.BaseOffset() != tc.offset {
			t.Errorf("%+v: %d bytes from %d, %v", tc, s.Len(), s.BaseOffset(), err)
		}
		s.Release()
	}
}

func TestSliceBeginsWithTheBatchThatHoldsTheOffset(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	for range 3 {
		mustAppend(t, l, batchOf(10, 5, epoch0.UnixMilli()))
	}
	s, err := l.Read(17, 1<<20, 30, true)
	if err != nil || s.BaseOffset() != 10 {
		t.Fatalf("base offset %d, %v", s.BaseOffset(), err)
	}
	defer s.Release()
	b, err := s.AppendTo([]byte("before"))
	if err != nil || !bytes.HasPrefix(b, []byte("before")) || len(b) != 6+s.Len() {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if _, err = l.Read(17, 1<<20, 20, true); err != nil {
		t.Fatal(err)
	}
	s2, err := l.Read(17, 1<<20, 19, true) // the batch extends beyond the limit
	if err != nil || s2.Len() != 0 {
		t.Fatalf("%d bytes, %v", s2.Len(), err)
	}
}

func TestSliceIsARangeOfAFile(t *testing.T) {
	k := newKit(t, vfs.OS{}, nil)
	l := k.log()
	fill(t, l, 5)
	s, err := l.Read(2, 1<<20, 5, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	want, err := s.AppendTo(nil)
	if err != nil {
		t.Fatal(err)
	}
	f, ok := s.File().(vfs.OSFiler)
	if !ok || f.OSFile() == nil {
		t.Fatal("no file of the operating system")
	}
	got := make([]byte, s.Len())
	if _, err = f.OSFile().ReadAt(got, s.Pos()); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("other bytes, %v", err)
	}
}

func TestDamagedBatchHeaderIsTold(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 400 })
	fill(t, k.log(), 9)
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	k.edit(seg3+extLog, func(b []byte) []byte { b[8] = 0xff; return b })
	k.open()
	if _, err := k.log().Read(4, 100, 9, true); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if got := readAll(t, k.log(), 6); len(got) != 3 {
		t.Fatalf("%d batches in the sound segment", len(got))
	}
}

// TestClosedSegmentsAreFlushed: a segment that may not be on this disk must not be uploaded. After
// a power cut the log would end below the object store.
func TestClosedSegmentsAreFlushed(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 400 })
	l := k.log()
	fill(t, l, 9)
	commit(l)
	if got := l.ClosedSegments(0); len(got) != 0 {
		t.Fatalf("%d segments, none is flushed", len(got))
	}
	if err := l.Flush(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	if got := l.ClosedSegments(0); len(got) != len(bases(l))-1 || len(got) == 0 {
		t.Fatalf("%d segments of %v", len(got), bases(l))
	}
}

func TestClosedSegments(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 400; c.IndexIntervalBytes = 0 })
	l := k.log()
	for i := range int32(11) {
		if _, err := l.Append(batchOf(1, 50, epoch0.UnixMilli()+int64(i), producer(1, 0, i)), i/2); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.ClosedSegments(0); len(got) != 0 {
		t.Fatalf("%d segments above the high watermark", len(got))
	}
	if err := l.Flush(t.Context(), 11); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(8)
	if got := l.ClosedSegments(0); len(got) != 2 {
		t.Fatalf("%d segments below 8", len(got))
	}
	commit(l)
	if got := l.ClosedSegments(4); len(got) != 2 || got[0].BaseOffset != 3 {
		t.Fatalf("%d segments from 4 on", len(got))
	}
	seg := l.ClosedSegments(3)[0]
	if seg.BaseOffset != 3 || seg.EndOffset != 6 || seg.SizeBytes == 0 {
		t.Fatalf("%+v", seg)
	}
	files, release, err := seg.Open()
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]*io.SectionReader{seg3 + extLog: files.Log, seg3 + extIndex: files.Index, seg3 + extTimeIndex: files.TimeIndex, seg6 + extSnapshot: files.Snapshot} {
		got, readErr := io.ReadAll(r)
		if readErr != nil || !bytes.Equal(got, content(t, k.fs, k.path(name))) || len(got) == 0 {
			t.Fatalf("%s: %d bytes, %v", name, len(got), readErr)
		}
	}
	if files.TxnIndex != nil || files.Log.Size() != seg.SizeBytes {
		t.Fatalf("transaction index %v, %d bytes", files.TxnIndex, files.Log.Size())
	}
	if want := []EpochEntry{{0, 0}, {1, 2}, {2, 4}}; !slices.Equal(files.LeaderEpochs, want) {
		t.Fatalf("epochs %v", files.LeaderEpochs)
	}
	// Deleted after it was opened: open files stay readable.
	if err = l.AdvanceStartOffset(9); err != nil {
		t.Fatal(err)
	}
	k.retain(3)
	k.clock.advance(1e12)
	k.m.env.emptyTrash(k.clock.Now())
	if _, err = files.Log.ReadAt(make([]byte, 10), 5); err != nil {
		t.Fatal(err)
	}
	release()
	if _, _, err = seg.Open(); !errors.Is(err, ErrOffsetOutOfRange) {
		t.Fatal(err)
	}
	k.m.env.emptyTrash(k.clock.Now())
	if slices.ContainsFunc(k.files(), func(s string) bool { return len(s) > 20 && s[:20] == seg3 }) {
		t.Fatalf("files %v", k.files())
	}
}

func TestTimeOfCompressedBatches(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	for i := range int64(5) {
		mustAppend(t, l, batchOf(10, 20, epoch0.UnixMilli()+i*100, func(b *record.Builder) { b.Codec = record.CodecZstd }))
	}
	at, ok, err := l.OffsetForTimestamp(epoch0.UnixMilli() + 203)
	if err != nil || !ok || at != (TimestampOffset{Offset: 23, Timestamp: epoch0.UnixMilli() + 203}) {
		t.Fatalf("%+v, %t, %v", at, ok, err)
	}
	if at, ok, err = l.OffsetForTimestamp(epoch0.UnixMilli() + 1000); err != nil || ok {
		t.Fatalf("%+v, %t, %v", at, ok, err)
	}
	if at, ok, err = l.MaxTimestamp(); err != nil || !ok || at.Offset != 49 {
		t.Fatalf("%+v, %t, %v", at, ok, err)
	}
}

func TestEndOffsetForEpoch(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	if e, o := l.EndOffsetForEpoch(0); e != UndefinedEpoch || o != UndefinedOffset {
		t.Fatalf("%d %d of an empty log", e, o)
	}
	for _, epoch := range []int32{2, 2, 4} {
		if _, err := l.Append(batchOf(2, 5, epoch0.UnixMilli()), epoch); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.AssignEpoch(7, 6), l.AssignEpoch(7, 6)); err != nil {
		t.Fatal(err)
	}
	for asked, want := range map[int32]EpochEntry{-1: {-1, -1}, 0: {0, 0}, 1: {1, 0}, 2: {2, 4}, 3: {2, 4}, 4: {4, 6}, 6: {4, 6}, 7: {7, 6}, 8: {-1, -1}} {
		if e, o := l.EndOffsetForEpoch(asked); (EpochEntry{e, o}) != want {
			t.Errorf("epoch %d ends at %d (%d), want %+v", asked, o, e, want)
		}
	}
	commit(l)
	if err := l.AdvanceStartOffset(5); err != nil {
		t.Fatal(err)
	}
	if got := l.EpochEntries(); !slices.Equal(got, []EpochEntry{{4, 5}, {7, 6}}) {
		t.Fatalf("entries %v", got)
	}
}

// TestTruncateForgetsAnEmptyEpoch truncates a log at its end, where an epoch begins under which
// nothing was appended, because an election was won for a moment only. Afterwards the latest epoch
// is that of the last record; otherwise the next leader would make the log truncate again and
// again.
func TestTruncateForgetsAnEmptyEpoch(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	if _, err := l.Append(batchOf(2, 5, epoch0.UnixMilli()), 2); err != nil {
		t.Fatal(err)
	}
	for _, to := range []int64{2, 3} {
		if err := errors.Join(l.AssignEpoch(4, 2), l.Truncate(to)); err != nil {
			t.Fatal(err)
		}
		want := int32(2)
		if to > 2 {
			want = 4 // it begins below the truncation offset
		}
		if got := l.LatestEpoch(); got != want || l.EndOffset() != 2 {
			t.Errorf("truncated to %d: epoch %d, end %d, want epoch %d", to, got, l.EndOffset(), want)
		}
	}
}

// TestTruncateIntoAGap truncates a follower of a compacted log between two batches. The log must
// end at the end of the first batch: a segment that began in the gap would look, after a kill, as
// if one before it were lost.
func TestTruncateIntoAGap(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	for _, base := range []int64{0, 9} {
		b := batchOf(2, 5, epoch0.UnixMilli())
		b.SetBaseOffset(base)
		if _, err := k.log().AppendAsFollower(b); err != nil {
			t.Fatal(err)
		}
	}
	for _, to := range []int64{9, 5} {
		if err := k.log().Truncate(to); err != nil || k.log().EndOffset() != 2 {
			t.Fatalf("truncated to %d: end %d, %v", to, k.log().EndOffset(), err)
		}
	}
	if err := k.log().Roll(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, k.log(), batchOf(1, 5, epoch0.UnixMilli()))
	if k = k.killed(); k.log().EndOffset() != 3 {
		t.Fatalf("end %d after a kill", k.log().EndOffset())
	}
}

func TestHighWatermarkNeverGoesBack(t *testing.T) {
	l := newKit(t, vfs.NewMem(), nil).log()
	fill(t, l, 5)
	for _, step := range [][2]int64{{3, 3}, {2, 3}, {9, 5}, {4, 5}} {
		if l.SetHighWatermark(step[0]); l.HighWatermark() != step[1] || l.LastStableOffset() != step[1] {
			t.Fatalf("set %d: %d", step[0], l.HighWatermark())
		}
	}
	if err := l.TruncateFully(100); err != nil {
		t.Fatal(err)
	}
	if l.HighWatermark() != 100 || l.StartOffset() != 100 || l.EndOffset() != 100 || l.LocalStartOffset() != 100 || l.Size() != 0 {
		t.Fatalf("high watermark %d, log %d to %d", l.HighWatermark(), l.StartOffset(), l.EndOffset())
	}
}

// TestLimitHoldsWhileTheLogGrows reads at the end of a growing log: records that were appended
// after the limit was taken must not be visible.
func TestLimitHoldsWhileTheLogGrows(t *testing.T) {
	t.Parallel()
	l := newKit(t, vfs.NewMem(), func(c *Config) { c.SegmentBytes = 1 << 24 }).log()
	batch := batchOf(1, 5, epoch0.UnixMilli())
	size := len(batch)
	mustAppend(t, l, batch)
	var wg sync.WaitGroup
	var done atomic.Bool
	wg.Go(func() {
		defer done.Store(true)
		for range 30_000 {
			batch.SetBaseOffset(0)
			if _, err := l.Append(batch, 0); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for !done.Load() {
		limit := l.EndOffset()
		s, err := l.Read(limit-1, 1<<20, limit, true)
		if err != nil || s.Len() != size {
			t.Errorf("%d bytes below %d, want one batch of %d, %v", s.Len(), limit, size, err)
			break
		}
		s.Release()
	}
	wg.Wait()
}

// TestReadersRunBesideTheWriter: readers follow an appender while segments are rolled, flushed and
// deleted. Run it with -race.
func TestReadersRunBesideTheWriter(t *testing.T) {
	k := newKit(t, vfs.OS{}, func(c *Config) {
		c.SegmentBytes, c.IndexIntervalBytes, c.RetentionBytes, c.FileDeleteDelayMs = 3000, 200, 9000, 0
	})
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	k.options.MaxOpenFiles = 6
	k.open()
	l := k.log()
	const total = 3000
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() { // appender
		defer done.Store(true)
		defer commit(l)
		for l.EndOffset() < total {
			n := int(l.EndOffset()%5) + 1
			if _, err := l.Append(batchOf(n, 30, epoch0.UnixMilli()+l.EndOffset()), 1); err != nil {
				t.Error(err)
				return
			}
			if l.EndOffset()%7 == 0 {
				l.SetHighWatermark(l.EndOffset() - 5)
			}
		}
	})
	wg.Go(func() { // retention, flushes, checkpoints
		for !done.Load() {
			_, err := l.EnforceRetention(k.clock.Now())
			k.m.env.emptyTrash(k.clock.Now())
			if err = errors.Join(err, l.flushClosed(t.Context()), k.m.Checkpoint()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for r := range 3 {
		wg.Go(func() {
			next := int64(0)
			for !done.Load() || next < l.HighWatermark() {
				limit := l.HighWatermark()
				if r == 0 {
					limit = l.EndOffset()
				}
				got, err := readRange(l, next, limit)
				if errors.Is(err, ErrOffsetOutOfRange) {
					next = l.LocalStartOffset()
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				for _, b := range got {
					if b.BaseOffset() > next || b.LastOffset() >= limit {
						t.Errorf("batch %d to %d, expected %d below %d", b.BaseOffset(), b.LastOffset(), next, limit)
						return
					}
					next = b.NextOffset()
				}
			}
		})
	}
	wg.Go(func() { // lookups by time
		for !done.Load() {
			ts := epoch0.UnixMilli() + l.LocalStartOffset()
			at, ok, err := l.OffsetForTimestamp(ts)
			if err != nil || (ok && at.Timestamp < ts) {
				t.Errorf("%+v, %v", at, err)
				return
			}
			if _, _, err = l.MaxTimestamp(); err != nil {
				t.Error(err)
				return
			}
			l.ClosedSegments(0)
		}
	})
	wg.Wait()
	if err := verifyFiles(l); err != nil {
		t.Fatal(err)
	}
	if n := k.m.env.files.count(); n > 12 {
		t.Fatalf("%d files are open", n)
	}
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(k.options.Dirs[0] + "/t-0")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if bytes.HasSuffix([]byte(e.Name()), []byte(".deleted")) {
			t.Errorf("%s is still there", e.Name())
		}
	}
}
