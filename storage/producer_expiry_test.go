package storage

import (
	"testing"
	"time"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

// TestProducerOfOldRecordsIsRemembered: a producer is known for producer.id.expiration.ms after its
// last append, whatever the timestamps of its records: a producer that copies last year's records
// is not idle. This also holds on followers and after restarts; otherwise a retry would be a
// duplicate.
func TestProducerOfOldRecordsIsRemembered(t *testing.T) {
	const year = 365 * 24 * time.Hour
	old := batchOf(2, 5, epoch0.Add(-year).UnixMilli(), producer(9, 0, 0))
	for name, restart := range map[string]func(k *kit) *kit{
		"running": func(k *kit) *kit { return k },
		"clean":   func(k *kit) *kit { k.reopen(); return k },
		"killed":  (*kit).killed,
		"follower": func(k *kit) *kit {
			next := k.on(vfs.NewMem())
			next.open()
			if _, err := next.log().AppendAsFollower(readAll(t, k.log(), 0)[0]); err != nil {
				t.Fatal(err)
			}
			return next
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKit(t, vfs.NewMem(), func(c *Config) { c.RetentionMs = -1 })
			mustAppend(t, k.log(), append([]byte(nil), old...))
			k = restart(k)
			k.clock.advance(23 * time.Hour)
			k.retain(0)
			if info := mustAppend(t, k.log(), append([]byte(nil), old...)); !info.Duplicate || info.FirstOffset != 0 {
				t.Fatalf("a retry after 23 hours is taken for new: %+v", info)
			}
			k.clock.advance(2 * time.Hour)
			k.retain(0)
			if n := len(k.log().producers.producers); n != 0 {
				t.Fatalf("%d producers are known after 25 hours", n)
			}
		})
	}
}

// TestProducerOfFutureRecordsExpires: a record from the future does not keep its producer forever.
func TestProducerOfFutureRecordsExpires(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.RetentionMs = -1; c.TimestampAfterMaxMs = 1 << 50 })
	mustAppend(t, k.log(), batchOf(1, 5, epoch0.Add(1000*time.Hour).UnixMilli(), producer(9, 0, 0)))
	k.clock.advance(25 * time.Hour)
	k.retain(0)
	if n := len(k.log().producers.producers); n != 0 {
		t.Fatalf("%d producers are known", n)
	}
}

// TestProducerInATransactionDoesNotExpire: a producer with an open transaction is known until its
// marker arrives, however late. Without the producer's state the marker would not end the
// transaction.
func TestProducerInATransactionDoesNotExpire(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.RetentionMs = -1 })
	l := k.log()
	k.follow(batchOf(1, 5, epoch0.UnixMilli(), producer(9, 0, 0), transactional))
	commit(l)
	k.clock.advance(25 * time.Hour)
	k.retain(0)
	if at := l.LastStableOffset(); at != 0 {
		t.Fatalf("the last stable offset is %d, of an open transaction from 0 on", at)
	}
	k.follow(endTxn(9, 0, record.ControlAbort))
	commit(l)
	if at := l.LastStableOffset(); at != 2 {
		t.Fatalf("the last stable offset is %d after the marker", at)
	}
	if txns, err := l.AbortedTransactions(0, 2); err != nil || len(txns) != 1 {
		t.Fatalf("aborted transactions %+v, %v", txns, err)
	}
}
