package storage

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/varvelog/varve/invariants"
)

// abortedTxnSize is the size in bytes of an entry of a .txnindex file: version int16 (0), producer
// id, first offset, last offset and last stable offset, each int64.
const abortedTxnSize = 34

// AbortedTxn is a transaction whose abort marker is in the segment.
type AbortedTxn struct {
	ProducerID  int64
	FirstOffset int64
	LastOffset  int64 // of the marker
	// LastStableOffset is the one after the marker was written: no later entry begins below it.
	LastStableOffset int64
}

// txnIndex holds a segment's aborted transactions in the order of their markers. The file exists
// only if there are some.
type txnIndex struct {
	file cachedFile
	mu   struct {
		invariants.Mutex[rankTxnIndex]
		inFile  int64        // entries in the file
		pending []AbortedTxn // entries that the file could not take yet
		// cut: the file was truncated and not synced since. A power cut may bring its old content
		// back.
		cut bool
	}
}

// count returns the number of transactions.
func (x *txnIndex) count() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.mu.inFile + int64(len(x.mu.pending))
}

// append adds a transaction and writes it at once, because aborts are rare. If the file cannot be
// written now, persist will return the error.
func (x *txnIndex) append(t AbortedTxn) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.mu.pending = append(x.mu.pending, t)
	_ = x.persistLocked()
}

// persist writes to the file the entries that are only in memory. It does not sync.
func (x *txnIndex) persist() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.persistLocked()
}

func (x *txnIndex) persistLocked() error {
	if len(x.mu.pending) == 0 {
		return nil
	}
	f, err := x.file.acquire(true)
	if err != nil {
		return err
	}
	defer x.file.release()
	buf := make([]byte, 0, len(x.mu.pending)*abortedTxnSize)
	for _, t := range x.mu.pending {
		buf = t.appendTo(buf)
	}
	if _, err = f.WriteAt(buf, x.mu.inFile*abortedTxnSize); err != nil {
		return err
	}
	x.mu.inFile += int64(len(x.mu.pending))
	x.mu.pending = nil
	return nil
}

// entries returns all transactions.
func (x *txnIndex) entries() ([]AbortedTxn, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.inFile == 0 {
		return slices.Clone(x.mu.pending), nil
	}
	f, err := x.file.acquire(false)
	if err != nil {
		return nil, err
	}
	defer x.file.release()
	buf := make([]byte, x.mu.inFile*abortedTxnSize)
	if _, err = f.ReadAt(buf, 0); err != nil {
		return nil, fmt.Errorf("read transaction index: %w", err)
	}
	txns, err := ParseAbortedTxns(buf)
	return append(txns, x.mu.pending...), err
}

// check returns an error unless the file's transactions can be those of a segment from base to
// next.
func (x *txnIndex) check(base, next int64) error {
	txns, err := x.entries()
	if err != nil {
		return err
	}
	for i, t := range txns {
		if t.ProducerID < 0 || t.FirstOffset < 0 || t.FirstOffset >= t.LastOffset || t.LastOffset < base || t.LastOffset >= next ||
			(i > 0 && t.LastOffset <= txns[i-1].LastOffset) {
			return fmt.Errorf("%w: transaction index of segment %d has %+v", ErrCorrupt, base, t)
		}
	}
	return nil
}

// cut keeps the transactions whose marker is below end.
func (x *txnIndex) cut(end int64) error {
	txns, err := x.entries()
	if err != nil || len(txns) == 0 {
		return err
	}
	keep := 0
	for keep < len(txns) && txns[keep].LastOffset < end {
		keep++
	}
	return x.reset(int64(keep))
}

// reset keeps the first n transactions.
func (x *txnIndex) reset(n int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	err := x.persistLocked()
	if err != nil || x.mu.inFile <= n {
		return err
	}
	f, err := x.file.acquire(true)
	if err != nil {
		return err
	}
	defer x.file.release()
	if err = f.Truncate(n * abortedTxnSize); err != nil {
		return err
	}
	x.mu.inFile, x.mu.cut = n, true
	return nil
}

// sync makes the file's content durable, if it has any or had some before a cut.
func (x *txnIndex) sync() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.mu.inFile == 0 && !x.mu.cut {
		return nil
	}
	if err := x.file.sync(); err != nil {
		return err
	}
	x.mu.cut = false
	return nil
}

// discard drops all transactions, also those in a file that was not opened.
func (x *txnIndex) discard() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.mu.pending, x.mu.inFile = nil, 0
	f, err := x.file.acquire(false)
	if err != nil {
		return ignoreNotExist(err)
	}
	defer x.file.release()
	x.mu.cut = true
	return f.Truncate(0)
}

func (t AbortedTxn) appendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, 0)
	for _, v := range []int64{t.ProducerID, t.FirstOffset, t.LastOffset, t.LastStableOffset} {
		b = binary.BigEndian.AppendUint64(b, uint64(v))
	}
	return b
}

// ParseAbortedTxns parses the content of a .txnindex file.
func ParseAbortedTxns(txnIndex []byte) ([]AbortedTxn, error) {
	if len(txnIndex)%abortedTxnSize != 0 {
		return nil, fmt.Errorf("%w: transaction index of %d bytes is not a multiple of %d", ErrCorrupt, len(txnIndex), abortedTxnSize)
	}
	txns := make([]AbortedTxn, 0, len(txnIndex)/abortedTxnSize)
	for b := txnIndex; len(b) > 0; b = b[abortedTxnSize:] {
		if v := int16(binary.BigEndian.Uint16(b)); v != 0 {
			return nil, fmt.Errorf("%w: transaction index entry of version %d, want 0", ErrCorrupt, v)
		}
		field := func(i int) int64 { return int64(binary.BigEndian.Uint64(b[2+8*i:])) }
		txns = append(txns, AbortedTxn{ProducerID: field(0), FirstOffset: field(1), LastOffset: field(2), LastStableOffset: field(3)})
	}
	return txns, nil
}
