package replication

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/vfs"
)

// freeze moves everything below an offset, the start of a batch, to the tier and removes it from
// the local log, as retention would.
func (b *bench) freeze(t *testing.T, below int64) {
	t.Helper()
	err := b.Scan(t.Context(), func(batch record.Batch) error {
		if batch.BaseOffset() < below {
			b.tier.add(b.tp, slices.Clone(batch))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	// This is more than the lookups ask for.
	if b.tier.aborted, err = b.log.AbortedTransactions(0, b.log.EndOffset()); err != nil {
		t.Fatal(err)
	}
	b.log.SetRemoteEndOffset(below)
	cfg := *b.config.Load()
	cfg.Log.LocalRetentionBytes = 1
	b.configure(&cfg)
	if err = errors.Join(b.log.Roll(), b.log.Flush(t.Context(), b.log.EndOffset())); err != nil {
		t.Fatal(err)
	}
	if _, err = b.log.EnforceRetention(time.Now()); err != nil {
		t.Fatal(err)
	}
	if b.log.LocalStartOffset() != below || b.log.StartOffset() >= below {
		t.Fatalf("local log starts at %d, log at %d; want %d", b.log.LocalStartOffset(), b.log.StartOffset(), below)
	}
}

// fill appends n batches of one record, and rolls the log at some offsets.
func (b *bench) fill(t *testing.T, n int, rollAt ...int64) {
	t.Helper()
	for i := range n {
		if slices.Contains(rollAt, int64(i)) {
			if err := b.log.Roll(); err != nil {
				t.Fatal(err)
			}
		}
		a, err := b.Append(batch(t, 1000+10*int64(i), fmt.Sprint(i)), AcksAll)
		if err != nil || a.Wait(t.Context()) != nil {
			t.Fatal(err)
		}
	}
}

func TestReadSpansBothTiers(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 20, 10)
	b.freeze(t, 10)
	b.fill(t, 5)
	var got []string
	for offset := int64(0); offset < 25; offset = int64(len(got)) {
		r, err := b.Read(t.Context(), readAt(offset))
		if err != nil {
			t.Fatalf("offset %d: %v", offset, err)
		}
		if _, inMemory := r.Records.Parts(); inMemory != (offset < 10) {
			t.Errorf("offset %d: from the tier is %v", offset, inMemory)
		}
		more := values(t, &r.Records, offset)
		if len(more) == 0 {
			t.Fatalf("nothing at offset %d", offset)
		}
		got = append(got, more...)
		r.Records.Release()
	}
	if len(got) != 25 || got[0] != "0" || got[10] != "10" || got[24] != "4" {
		t.Errorf("read %q", got)
	}
}

func TestReadStopsAtTheHighWatermark(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 3)
	// This is as if a follower were behind.
	if _, err := b.log.Append(batch(t, 1000, "uncommitted"), 0); err != nil {
		t.Fatal(err)
	}
	for offset, want := range map[int64][]string{1: {"1", "2"}, 3: nil, 4: nil} {
		r, err := b.Read(t.Context(), readAt(offset))
		if got := values(t, &r.Records, offset); err != nil || !slices.Equal(got, want) {
			t.Errorf("offset %d: %q, %v", offset, got, err)
		}
		r.Records.Release()
	}
	all := readAt(3)
	all.Isolation = ReadLogEnd
	r, err := b.Read(t.Context(), all)
	if got := values(t, &r.Records, 3); err != nil || !slices.Equal(got, []string{"uncommitted"}) {
		t.Errorf("up to the end: %q, %v", got, err)
	}
	r.Records.Release()
}

func TestReadErrors(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 10, 5)
	b.freeze(t, 5)
	if err := b.lead(leads(3, 1)); err != nil {
		t.Fatal(err)
	}
	at := func(offset int64, epoch, last int32) ReadRequest {
		r := readAt(offset)
		r.CurrentLeaderEpoch, r.LastFetchedEpoch = epoch, last
		return r
	}
	for _, c := range []struct {
		name string
		r    ReadRequest
		want error
	}{
		{"negative", at(-1, -1, -1), ErrOffsetOutOfRange},
		{"beyond the end", at(11, -1, -1), ErrOffsetOutOfRange},
		{"at the end", at(10, -1, -1), nil},
		{"old epoch", at(5, 2, -1), ErrFencedLeaderEpoch},
		{"epoch to come", at(5, 4, -1), ErrUnknownLeaderEpoch},
		{"right epoch", at(5, 3, -1), nil},
		{"last record of an unknown epoch", at(5, 3, 9), ErrOffsetOutOfRange},
	} {
		r, err := b.Read(t.Context(), c.r)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		r.Records.Release()
	}
	// The log has the offset, whatever the tiers have. A consumer that received an out-of-range
	// error would skip the records in between.
	for tierErr, want := range map[error]error{
		tiering.ErrUnavailable:      ErrColdReadFailed,
		tiering.ErrCorrupt:          ErrColdReadFailed,
		tiering.ErrOffsetOutOfRange: ErrColdReadFailed,
		storage.ErrOffsetOutOfRange: ErrColdReadFailed,
	} {
		b.tier.err = tierErr
		if _, err := b.Read(t.Context(), readAt(2)); !errors.Is(err, want) || errors.Is(err, ErrOffsetOutOfRange) {
			t.Errorf("tier says %v: %v, want %v", tierErr, err, want)
		}
	}
	b.Partition.tier = nil
	if _, err := b.Read(t.Context(), readAt(2)); !errors.Is(err, ErrColdReadFailed) {
		t.Errorf("without a tier: %v", err)
	}
}

// TestReadOfWhatIsDeletedMeanwhile: the offset was in the log when the read began, and has expired
// in the tier since. That is out of range, and no failure.
func TestReadOfWhatIsDeletedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, vfs.NewMem(), nil)
		b.fill(t, 10, 5)
		b.freeze(t, 5)
		b.tier.err, b.tier.hold = tiering.ErrOffsetOutOfRange, make(chan struct{})
		got := make(chan error)
		go func() {
			_, err := b.Read(t.Context(), readAt(2))
			got <- err
		}()
		synctest.Wait()
		if err := b.log.AdvanceStartOffset(3); err != nil {
			t.Fatal(err)
		}
		close(b.tier.hold)
		if err := <-got; !errors.Is(err, ErrOffsetOutOfRange) || errors.Is(err, ErrColdReadFailed) {
			t.Errorf("read: %v, want ErrOffsetOutOfRange", err)
		}
	})
}

// TestReadGoesOnBehindTheTier: no batch of the tier contains the offset or a later one. The next
// batch is local.
func TestReadGoesOnBehindTheTier(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 10, 5)
	b.freeze(t, 5)
	b.tier.err = tiering.ErrNoBatchFollows
	r, err := b.Read(t.Context(), readAt(4))
	if got := values(t, &r.Records, 4); err != nil || !slices.Equal(got, []string{"5", "6", "7", "8", "9"}) {
		t.Errorf("read %q, %v", got, err)
	}
	r.Records.Release()
}

// A client whose history differs from the leader's learns where the two diverge (KIP-595).
func TestReaderWithAnotherHistoryIsToldWhereItDiverges(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 3)
	if err := b.lead(leads(2, 1)); err != nil {
		t.Fatal(err)
	}
	b.fill(t, 2)
	for _, c := range []struct {
		offset int64
		last   int32
		want   *EpochEnd
	}{
		{3, 0, nil},
		{4, 0, &EpochEnd{0, 3}}, // it has read an offset 3 of epoch 0, which ended before
		{5, 1, &EpochEnd{0, 3}}, // no broker led at epoch 1
		{4, 2, nil},
	} {
		r := readAt(c.offset)
		r.LastFetchedEpoch = c.last
		result, err := b.Read(t.Context(), r)
		switch {
		case err != nil:
			t.Errorf("%+v: %v", c, err)
		case (result.Diverging == nil) != (c.want == nil), c.want != nil && *result.Diverging != *c.want:
			t.Errorf("%+v: diverges at %+v", c, result.Diverging)
		}
		result.Records.Release()
	}
}

func TestReadSizes(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 10)
	one := len(batch(t, 1000, "0"))
	for _, c := range []struct {
		max    int
		minOne bool
		want   int
	}{{0, false, 0}, {1, false, 0}, {0, true, 1}, {1, true, 1}, {3 * one, false, 3}, {1 << 20, false, 10}} {
		r := readAt(0)
		r.MaxBytes, r.MinOne = c.max, c.minOne
		result, err := b.Read(t.Context(), r)
		if got := len(values(t, &result.Records, 0)); err != nil || got != c.want {
			t.Errorf("%+v: %d batches, %v", c, got, err)
		}
		result.Records.Release()
	}
}

func TestScanStopsAtAnError(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.fill(t, 10)
	stop, seen := errors.New("enough"), 0
	err := b.Scan(t.Context(), func(record.Batch) error {
		if seen++; seen == 4 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || seen != 4 {
		t.Errorf("%d batches, %v", seen, err)
	}
}

// A read_committed reader sees nothing from the first open transaction on, neither in reads nor as
// the latest offset (R7).
func TestReadCommittedEndsAtAnOpenTransaction(t *testing.T) {
	b := newBench(t, vfs.NewMem(), nil)
	b.append(t, AcksLeader, "plain")
	txn := record.Builder{HasProducer: true, ProducerID: 9, Transactional: true}
	txn.Append(1000, []byte("k"), []byte("open"))
	if _, err := b.Append(build(t, &txn), AcksLeader); err != nil {
		t.Fatal(err)
	}
	for level, want := range map[Isolation][]string{ReadUncommitted: {"plain", "open"}, ReadCommitted: {"plain"}} {
		got, err := b.Read(t.Context(), ReadRequest{MaxBytes: 1 << 20, Isolation: level, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1})
		if err != nil {
			t.Fatal(err)
		}
		if read := values(t, &got.Records, 0); !slices.Equal(read, want) {
			t.Errorf("isolation %d: %q, want %q", level, read, want)
		}
		got.Records.Release()
		if latest, err := b.ListOffset(t.Context(), LatestTimestamp, level, -1); err != nil || latest.Offset != int64(len(want)) {
			t.Errorf("isolation %d: latest offset %d, %v", level, latest.Offset, err)
		}
	}
}
