package tiering

import (
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
)

// txnLog is a log of transactions: it is written like a follower's, which may append markers.
type txnLog struct {
	*storage.Log
	t        *testing.T
	sequence map[int64]int32
	open     map[int64]bool
}

func (w *world) txnLog() *txnLog {
	return &txnLog{Log: w.realLog(), t: w.t, sequence: map[int64]int32{}, open: map[int64]bool{}}
}

func (l *txnLog) tp() metadata.TopicPartition {
	return metadata.TopicPartition{Topic: l.Topic(), Partition: l.Partition()}
}

func (l *txnLog) put(b *record.Builder, key, value []byte) {
	l.t.Helper()
	b.BaseOffset = l.EndOffset()
	b.Append(time.Now().UnixMilli(), key, value)
	batch, err := b.Build()
	if err == nil {
		_, err = l.AppendAsFollower(batch)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// data appends a record of a producer's transaction, or of none if the producer is 0.
func (l *txnLog) data(producer int64) {
	l.t.Helper()
	if producer == 0 {
		l.put(&record.Builder{}, nil, []byte("plain"))
		return
	}
	l.put(&record.Builder{HasProducer: true, ProducerID: producer, BaseSequence: l.sequence[producer], Transactional: true}, nil, []byte("value"))
	l.sequence[producer]++
	l.open[producer] = true
}

// end appends the marker that ends a producer's transaction.
func (l *txnLog) end(producer int64, kind record.ControlType) {
	l.t.Helper()
	b := &record.Builder{HasProducer: true, ProducerID: producer, BaseSequence: record.NoSequence, Control: true, Transactional: true}
	l.put(b, binary.BigEndian.AppendUint16(make([]byte, 2), uint16(kind)), make([]byte, 6))
	delete(l.open, producer)
}

func (l *txnLog) roll() {
	l.t.Helper()
	if err := l.Roll(); err != nil {
		l.t.Fatal(err)
	}
}

// tier uploads everything that may be uploaded, and returns where the tier ends.
func (l *txnLog) tier(m *Manager) int64 {
	l.t.Helper()
	l.SetHighWatermark(l.EndOffset())
	if err := l.Flush(l.t.Context(), l.EndOffset()); err != nil {
		l.t.Fatal(err)
	}
	tp := l.tp()
	m.Kick(tp)
	synctest.Wait()
	s, _ := m.Status(tp)
	return max(s.EndOffset, 0)
}

// aborted returns what both tiers have if the local log begins at the offset before.
func (l *txnLog) aborted(m *Manager, from, upTo, before int64) []storage.AbortedTxn {
	l.t.Helper()
	txns, decided, err := m.AbortedTransactions(l.t.Context(), l.tp(), from, upTo, before)
	if err != nil {
		l.t.Fatal(err)
	}
	if decided {
		return txns
	}
	local, err := l.AbortedTransactions(max(from, before), upTo)
	if err != nil {
		l.t.Fatal(err)
	}
	return append(txns, local...)
}

// TestMarkerInALaterSegment: a transaction of the first segment is aborted in the third, which is
// in the tier, or still in the local log only.
func TestMarkerInALaterSegment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := running(t, w)
		log := w.txnLog()
		m.Attach(t.Context(), Partition{TopicID: w.id, TopicPartition: w.tp, LeaderEpoch: 3, Log: log.Log, Config: w.cfg.get})
		log.data(1)
		log.roll()
		log.data(0)
		log.roll()
		log.end(1, record.ControlAbort) // at offset 2
		log.roll()
		log.data(0)
		if end := log.tier(m); end != 3 {
			t.Fatalf("the tier ends at %d", end)
		}
		want := []storage.AbortedTxn{{ProducerID: 1, FirstOffset: 0, LastOffset: 2, LastStableOffset: 3}}
		gets := w.faults.Calls(objstoretest.GetOp)
		got, decided, err := m.AbortedTransactions(t.Context(), w.tp, 0, 1, 3)
		if err != nil || !decided || !slices.Equal(got, want) {
			t.Errorf("in the tier: %+v, decided %t, %v; want %+v", got, decided, err, want)
		}
		if n := w.faults.Calls(objstoretest.GetOp) - gets; n != 2 { // for the third segment only
			t.Errorf("%d requests", n)
		}
		got, decided, err = m.AbortedTransactions(t.Context(), w.tp, 0, 1, 2)
		if err != nil || decided || len(got) != 0 {
			t.Errorf("of what is below the local log: %+v, decided %t, %v", got, decided, err)
		}
		for before := range int64(4) {
			if got = log.aborted(m, 0, 1, before); !slices.Equal(got, want) {
				t.Errorf("the local log begins at %d: %+v", before, got)
			}
		}
		if n := w.faults.Calls(objstoretest.GetOp) - gets; n != 2 {
			t.Errorf("%d requests of what was read before", n)
		}
		if _, _, err = m.AbortedTransactions(t.Context(), w.tp, 0, 1, 4); !errors.Is(err, ErrUnavailable) {
			t.Errorf("of offsets that neither tier has: %v", err)
		}
	})
}

// TestAbortedTransactionsAreThoseOfTheLog checks that both tiers together list what one log would,
// wherever the border between the tiers is.
func TestAbortedTransactionsAreThoseOfTheLog(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 7))
			w := newWorld(t)
			m := running(t, w, func(o *Options) { o.IndexCacheBytes = 4096 })
			log := w.txnLog()
			m.Attach(t.Context(), Partition{TopicID: w.id, TopicPartition: w.tp, LeaderEpoch: 3, Log: log.Log, Config: w.cfg.get})
			bases := []int64{0}
			aborts := rng.Float64() // some logs have few
			for range 400 {
				switch producer := rng.Int64N(5); {
				case rng.IntN(8) == 0 && log.EndOffset() > bases[len(bases)-1]:
					log.roll()
					bases = append(bases, log.EndOffset())
				case log.open[producer] && rng.IntN(3) == 0:
					kind := record.ControlCommit
					if rng.Float64() < aborts {
						kind = record.ControlAbort
					}
					log.end(producer, kind)
				default:
					log.data(producer)
				}
			}
			end := log.tier(m)
			borders := slices.DeleteFunc(bases, func(base int64) bool { return base > end })
			if len(borders) < 10 {
				t.Fatalf("seed %d: %d segments are in the tier", seed, len(borders))
			}
			for range 300 {
				from := rng.Int64N(end)
				upTo, before := from+1+rng.Int64N(min(end-from, 30)), borders[rng.IntN(len(borders))]
				if rng.IntN(3) == 0 {
					before = rng.Int64N(end + 1) // the log start, within a segment
				}
				want, err := log.AbortedTransactions(from, upTo)
				if err != nil {
					t.Fatal(err)
				}
				if got := log.aborted(m, from, upTo, before); !slices.Equal(got, want) {
					t.Fatalf("seed %d: [%d, %d), the local log begins at %d: %+v, want %+v", seed, from, upTo, before, got, want)
				}
			}
		})
	}
}

// TestNoTransactionsCostNoRequest: entries and pages say that nothing was aborted.
func TestNoTransactionsCostNoRequest(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	small(log, 60)
	b := w.start(log, 1, func(o *Options) { o.IndexCacheBytes = 1 })
	b.mustAttach()
	b.mustDrain()
	if len(b.p.all().Pages) == 0 {
		t.Fatal("there are no pages")
	}
	gets := w.faults.Calls(objstoretest.GetOp)
	got, decided, err := b.m.AbortedTransactions(t.Context(), w.tp, 3, 5, 60)
	if err != nil || decided || len(got) != 0 {
		t.Errorf("%+v, decided %t, %v", got, decided, err)
	}
	if n := w.faults.Calls(objstoretest.GetOp) - gets; n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestAbortedInTwoSegments: two leaders have uploaded the same marker, and readers get it once.
func TestAbortedInTwoSegments(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	log.aborted = []storage.AbortedTxn{
		{ProducerID: 1, FirstOffset: 1, LastOffset: 16, LastStableOffset: 2},
		{ProducerID: 2, FirstOffset: 2, LastOffset: 22, LastStableOffset: 3},
	}
	for range 4 {
		log.appendSegment(segmentSpec{batches: 10})
	}
	b := w.start(log, 1)
	whole := log.segments
	log.segments = whole[:2] // the tier ends at 20
	b.mustAttach()
	b.mustDrain()
	log.segments = whole
	other := log.restarted()
	other.resegment(15)
	b = w.start(other, 2)
	b.mustAttach()
	b.mustDrain()
	if cut := b.p.all().Recent[2]; cut.BaseOffset != 15 || cut.StartOffset != 20 || cut.Aborted != 2 {
		t.Fatalf("the third segment is %+v", cut)
	}
	got, _, err := b.m.AbortedTransactions(t.Context(), w.tp, 0, 10, b.p.all().EndOffset)
	if err != nil || !slices.Equal(got, log.aborted) {
		t.Errorf("%+v, %v; want %+v", got, err, log.aborted)
	}
}

// TestDamagedTransactionIndex checks that a damaged index is an error, and does not pass for
// "nothing was aborted".
func TestDamagedTransactionIndex(t *testing.T) {
	good := storage.AbortedTxn{ProducerID: 1, FirstOffset: 1, LastOffset: 4, LastStableOffset: 5}
	for name, txns := range map[string][]storage.AbortedTxn{
		"a marker behind the segment":   {{ProducerID: 1, FirstOffset: 1, LastOffset: 5, LastStableOffset: 6}},
		"a marker before the segment":   {{ProducerID: 1, FirstOffset: 1, LastOffset: 3, LastStableOffset: 6}},
		"a marker before its beginning": {{ProducerID: 1, FirstOffset: 4, LastOffset: 4, LastStableOffset: 5}},
		"markers in disorder":           {good, good},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			log := newFakeLog(t)
			small(log, 6)
			log.segments[4].aborted = txns
			b := w.start(log, 1)
			b.mustAttach()
			b.mustDrain()
			if _, _, err := b.m.AbortedTransactions(t.Context(), w.tp, 0, 3, 6); !errors.Is(err, ErrCorrupt) {
				t.Errorf("look up: %v", err)
			}
			s, _ := b.m.Status(w.tp)
			if len(s.Problems) != 1 || !strings.HasSuffix(s.Problems[0].Object, b.p.all().Recent[4].Name) {
				t.Errorf("status has the problems %+v", s.Problems)
			}
			if _, _, err := b.m.AbortedTransactions(t.Context(), w.tp, 0, 3, 4); err != nil {
				t.Errorf("of the segments before: %v", err)
			}
		})
	}
}

// TestTransactionIndexesTakeTheirPlaceInTheCache checks that they count against the bytes of
// the index cache.
func TestTransactionIndexesTakeTheirPlaceInTheCache(t *testing.T) {
	w := newWorld(t)
	log := newFakeLog(t)
	for i := range int64(1000) {
		log.aborted = append(log.aborted, storage.AbortedTxn{ProducerID: i, FirstOffset: i, LastOffset: 1000 + i, LastStableOffset: i + 1})
	}
	log.appendSegment(segmentSpec{batches: 2, records: 500})
	log.appendSegment(segmentSpec{batches: 2, records: 500})
	b := w.start(log, 1)
	b.mustAttach()
	b.mustDrain()
	before := b.m.indexes.bytes()
	got, _, err := b.m.AbortedTransactions(t.Context(), w.tp, 500, 900, 2000)
	if err != nil || len(got) != 900 {
		t.Fatalf("%d transactions, %v", len(got), err)
	}
	if added := b.m.indexes.bytes() - before; added < 32_000 || added > math.MaxUint16 {
		t.Errorf("they take %d bytes of the cache", added)
	}
}

func (c *cache[K, V]) bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.shelf.bytes
}
