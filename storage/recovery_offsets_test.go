package storage

import (
	"testing"
	"time"

	"github.com/varvelog/varve/vfs"
)

// TestOffsetsEndWithTheLog (S20): the checkpoints may vouch for more than a crash has left, as on a
// disk that lost synced data. Records appended at these offsets are neither committed nor durable.
func TestOffsetsEndWithTheLog(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	l := k.log()
	fill(t, l, 4)
	commit(l)
	if err := l.Flush(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if err := k.m.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	k = k.dead()
	k.edit(fileName(0, extLog), func(b []byte) []byte { return b[:len(b)-1] })
	k.open()
	l = k.log()
	if end, high, flushed := l.EndOffset(), l.HighWatermark(), l.FlushedOffset(); end != 3 || high != 3 || flushed != 3 {
		t.Errorf("end %d, high watermark %d, flushed up to %d; want 3", end, high, flushed)
	}
}

// TestHighWatermarkOfBeforeACrash (S20): a power cut takes records that this broker knew as
// committed. The records that replace them are not committed, whatever an older checkpoint says.
// The same holds after a truncation of committed records.
func TestHighWatermarkOfBeforeACrash(t *testing.T) {
	for name, lose := range map[string]func(k *kit, l *Log) *kit{
		"power cut": func(k *kit, l *Log) *kit {
			for seed := range uint64(100) {
				next := k.on(k.mem().CrashClone(seed))
				if next.open(); next.log().EndOffset() == 3 {
					return next
				}
			}
			k.t.Fatal("no crash took the records that were not synced")
			return nil
		},
		"truncation": func(k *kit, l *Log) *kit {
			if err := l.TruncateCommitted(3); err != nil {
				k.t.Fatal(err)
			}
			return k
		},
		"truncation of everything": func(k *kit, l *Log) *kit {
			if err := l.TruncateCommittedFully(3); err != nil {
				k.t.Fatal(err)
			}
			return k
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t, vfs.NewMem(), nil)
			l := k.log()
			fill(t, l, 3)
			if err := l.Flush(t.Context(), 3); err != nil {
				t.Fatal(err)
			}
			fill(t, l, 2)
			commit(l)
			if err := k.m.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			k = lose(k, l)
			l = k.log()
			if l.EndOffset() != 3 || l.HighWatermark() != 3 {
				t.Fatalf("end %d, high watermark %d, want 3", l.EndOffset(), l.HighWatermark())
			}
			fill(t, l, 2)
			if err := l.Flush(t.Context(), 5); err != nil {
				t.Fatal(err)
			}
			if l = k.killed().log(); l.EndOffset() != 5 || l.HighWatermark() != 3 {
				t.Errorf("end %d, high watermark %d, want 5 and 3", l.EndOffset(), l.HighWatermark())
			}
		})
	}
}

// TestWhatOnlyTheObjectStoreHasIsCommitted: the checkpointed high watermark may be older than the
// retention that has deleted local segments below it; the start must not put it below the local
// log.
func TestWhatOnlyTheObjectStoreHasIsCommitted(t *testing.T) {
	k := retentionKit(t, 9, func(c *Config) { c.RemoteStorageEnable = true; c.LocalRetentionMs, c.LocalRetentionBytes = 0, 0 })
	l := k.log()
	if err := l.Flush(t.Context(), 9); err != nil {
		t.Fatal(err)
	}
	l.SetRemoteEndOffset(6)
	k.clock.advance(time.Hour)
	k.retain(2)
	l = k.killed().log()
	if local, high := l.LocalStartOffset(), l.HighWatermark(); local != 6 || high != 6 || l.StartOffset() != 0 {
		t.Errorf("log start %d, local start %d, high watermark %d", l.StartOffset(), local, high)
	}
}

// TestRecoveryPointWaitsForIndexes (S2): a start trusts segments below the recovery point. A
// segment that was closed after its last flush must be above it, because its indexes are not
// durable.
func TestRecoveryPointWaitsForIndexes(t *testing.T) {
	k := newKit(t, vfs.NewMem(), nil)
	l := k.log()
	fill(t, l, 4)
	if err := l.Flush(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if at := l.offsets.recovery.Load(); at != 4 {
		t.Errorf("recovery point %d after a flush", at)
	}
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	if at := l.offsets.recovery.Load(); at != 0 {
		t.Errorf("recovery point %d after the segment was closed", at)
	}
	if err := l.flushClosed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if at := l.offsets.recovery.Load(); at != 4 {
		t.Errorf("recovery point %d after its indexes were synced", at)
	}
}
