package storage

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// newCompactKit returns a kit whose log is compacted only when the test asks for it.
func newCompactKit(t testing.TB, fsys vfs.FS, change func(*Config)) *kit {
	t.Helper()
	return newKit(t, fsys, func(c *Config) {
		c.CleanupCompact, c.CleanupDelete = true, false
		c.MinCleanableDirtyRatio = 0
		c.FileDeleteDelayMs = 0
		c.IndexIntervalBytes = 0
		c.DeleteRetentionMs = 1000
		if change != nil {
			change(c)
		}
	})
}

// keyed builds a batch of records from texts: "key=value", "key" for a tombstone, "=value" for a
// record without a key.
func keyed(ts int64, pairs []string, change ...func(*record.Builder)) record.Batch {
	var b record.Builder
	for _, c := range change {
		c(&b)
	}
	for _, pair := range pairs {
		k, v, hasValue := strings.Cut(pair, "=")
		var key, value []byte
		if k != "" {
			key = []byte(k)
		}
		if hasValue {
			value = []byte(v)
		}
		b.Append(ts, key, value)
	}
	batch, err := b.Build()
	if err != nil {
		panic(err)
	}
	return batch
}

func transactional(b *record.Builder) { b.Transactional = true }

// endTxn builds the marker that ends a producer's transaction.
func endTxn(id int64, epoch int16, kind record.ControlType) record.Batch {
	b := record.Builder{HasProducer: true, ProducerID: id, ProducerEpoch: epoch, BaseSequence: record.NoSequence, Control: true, Transactional: true}
	b.Append(epoch0.UnixMilli(), []byte{0, 0, 0, byte(kind)}, []byte{0, 0, 0, 0, 0, 1})
	batch, err := b.Build()
	if err != nil {
		panic(err)
	}
	return batch
}

// put appends one batch per record, as a follower, which may write anything.
func (k *kit) put(pairs ...string) {
	k.t.Helper()
	for _, pair := range pairs {
		k.follow(keyed(k.clock.Now().UnixMilli(), []string{pair}))
	}
}

// follow appends batches at the end of the log.
func (k *kit) follow(batches ...record.Batch) {
	k.t.Helper()
	for _, b := range batches {
		b.SetBaseOffset(k.log().EndOffset())
		if _, err := k.log().AppendAsFollower(b); err != nil {
			k.t.Fatal(err)
		}
	}
}

// makeCleanable closes the active segment, commits everything and makes it durable.
func (k *kit) makeCleanable() {
	k.t.Helper()
	l := k.log()
	if err := l.Roll(); err != nil {
		k.t.Fatal(err)
	}
	commit(l)
	if err := l.flushClosed(k.t.Context()); err != nil {
		k.t.Fatal(err)
	}
	if err := k.m.Checkpoint(); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kit) share() cleanerShare {
	return cleanerShare{mapBytes: 1 << 20, bufferBytes: 500, loadFactor: 0.9, pace: &pacer{}, metrics: k.m.cleaner.metrics}
}

// clean compacts everything that the log has now.
func (k *kit) clean() {
	k.t.Helper()
	k.makeCleanable()
	k.cleanOnce(k.share())
}

func (k *kit) cleanOnce(share cleanerShare) {
	k.t.Helper()
	if err := k.log().clean(k.t.Context(), share); err != nil {
		k.t.Fatal(err)
	}
	if err := k.m.noteCleaned(k.log()); err != nil {
		k.t.Fatal(err)
	}
}

// dump lists everything in the log: "offset:key=value", "offset:key" for a tombstone,
// "offset:ABORT" for a marker, "first-last" for an empty batch.
func dump(t testing.TB, l *Log) []string {
	t.Helper()
	var all []string
	for _, b := range readAll(t, l, l.LocalStartOffset()) {
		if b.Count() == 0 {
			all = append(all, fmt.Sprintf("%d-%d", b.BaseOffset(), b.LastOffset()))
		}
		for r, err := range b.Records() {
			if err != nil {
				t.Fatal(err)
			}
			s := fmt.Sprintf("%d:%s", r.Offset, r.Key)
			switch {
			case b.IsControl():
				kind, err := record.ParseControlKey(r.Key)
				if err != nil {
					t.Fatal(err)
				}
				s = fmt.Sprintf("%d:%v", r.Offset, kind)
			case r.Value != nil:
				s += "=" + string(r.Value)
			}
			all = append(all, s)
		}
	}
	return all
}

// want compares the log with lines and checks its files.
func (k *kit) want(lines ...string) {
	k.t.Helper()
	if got := dump(k.t, k.log()); !slices.Equal(got, lines) {
		k.t.Fatalf("log holds\n%q, want\n%q", got, lines)
	}
	if err := verifyFiles(k.log()); err != nil {
		k.t.Fatal(err)
	}
}
