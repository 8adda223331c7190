package kv

import (
	"context"
	"iter"
	"time"
)

// Store is the seam to the place that holds the cluster's state. Every key is
// relative to the root of one cluster ("topics/orders"), so that only the store
// knows where that root is.
//
// Revisions are those of etcd: one number for the whole store that grows with
// every transaction that changes something; all keys that one transaction
// changes get the same revision. kvtest holds the conformance suite.
//
// A store notices that its history is not the one any more that it has shown, by
// the revision of any answer. From then on every call returns ErrWentBack, and
// watches end with it.
//
// Every call ends when ctx does. A call that the store did not answer in time
// returns ErrUnavailable; if it was a write, it may have happened.
type Store interface {
	// Get reads one key. A key that does not exist is not an error: its Pair
	// has the key, no value and a ModRevision of zero (see Pair.Exists).
	Get(ctx context.Context, key string) (Pair, error)

	// List reads all keys that begin with prefix, in ascending order, as of one
	// revision, which it returns. It reads page by page inside.
	List(ctx context.Context, prefix string) ([]Pair, int64, error)

	// Txn applies all ops atomically if all comparisons hold and returns the
	// revision of the store after it; otherwise it writes nothing and returns
	// ErrConflict. A key may occur in ops once, and
	// a put not under a prefix that is deleted. At most MaxTxnOps comparisons
	// and as many ops are portable. A put under a lease that is gone returns
	// ErrLeaseNotFound.
	Txn(ctx context.Context, comparisons []Comparison, ops ...Op) (int64, error)

	// Watch yields every change of the keys that begin with prefix, from the
	// given revision on (which is at least 1), in order, without gaps. The
	// changes of one revision are never split between two batches. It ends with
	// an error: ErrCompacted, the context's, or another. It survives a
	// reconnect by itself. Breaking out of the loop ends the watch.
	Watch(ctx context.Context, prefix string, from int64) iter.Seq2[Batch, error]

	// Grant creates a lease that ends, and deletes its keys, when it has not
	// been kept alive for ttl. The store may round ttl up to whole seconds.
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, error)

	// KeepAlive renews the lease once, for its full time to live.
	KeepAlive(ctx context.Context, lease LeaseID) error

	// Revoke ends the lease and deletes its keys at one revision. A lease that
	// is already gone is not an error.
	Revoke(ctx context.Context, lease LeaseID) error

	// Close ends all watches and frees what the store holds.
	Close() error
}

// MaxTxnOps is the number of comparisons, and of operations, that every etcd
// takes in one transaction (its default limit is 128).
const MaxTxnOps = 120

// LeaseID names a lease of the store. Zero is no lease.
type LeaseID int64

// Pair is one key with its value and its history.
type Pair struct {
	Key            string
	Value          []byte // read only
	CreateRevision int64  // the revision that created this incarnation of the key
	ModRevision    int64  // the revision that wrote this value
	Lease          LeaseID
}

// Exists reports whether the key was there.
func (pair Pair) Exists() bool { return pair.ModRevision != 0 }

// Event is one change of one key.
type Event struct {
	Pair
	// Deleted says that the key went away at ModRevision; there is no value.
	Deleted bool
}

// Batch is a run of consecutive changes.
type Batch struct {
	// Revision is that of the last event; all earlier changes under the prefix
	// have been seen.
	Revision int64
	Events   []Event
}

// Comparison is a condition of a transaction. The zero value holds never; use
// the functions below.
type Comparison struct {
	Key      string
	Target   Target
	Revision int64
	Value    string // bytes; a string, so that comparisons can be compared
}

// Target is what of a key a Comparison looks at.
type Target int8

// The targets of a comparison.
const (
	TargetCreateRevision Target = iota + 1
	TargetModRevision
	TargetValue
)

// Absent holds if the key does not exist.
func Absent(key string) Comparison {
	return Comparison{Key: key, Target: TargetCreateRevision}
}

// CreatedAt holds if the key exists and was created at that revision. With
// revision 0 it is Absent.
func CreatedAt(key string, revision int64) Comparison {
	return Comparison{Key: key, Target: TargetCreateRevision, Revision: revision}
}

// ModifiedAt holds if the key exists and its value is the one that revision
// wrote. With revision 0 it is Absent.
func ModifiedAt(key string, revision int64) Comparison {
	return Comparison{Key: key, Target: TargetModRevision, Revision: revision}
}

// ValueIs holds if the key exists and has that value.
func ValueIs(key string, value []byte) Comparison {
	return Comparison{Key: key, Target: TargetValue, Value: string(value)}
}

// Op is one write of a transaction: Put, PutLeased, Delete or DeletePrefix.
type Op struct {
	Kind  OpKind
	Key   string
	Value []byte
	Lease LeaseID
}

// OpKind is what an Op does.
type OpKind int8

// The kinds of operations.
const (
	OpPut OpKind = iota + 1
	OpDelete
	OpDeletePrefix
)

// Put writes a key; a lease it had is taken off it.
func Put(key string, value []byte) Op { return Op{Kind: OpPut, Key: key, Value: value} }

// PutLeased writes a key that goes away with the lease.
func PutLeased(key string, value []byte, lease LeaseID) Op {
	return Op{Kind: OpPut, Key: key, Value: value, Lease: lease}
}

// Delete removes a key; removing an absent one changes nothing.
func Delete(key string) Op { return Op{Kind: OpDelete, Key: key} }

// DeletePrefix removes all keys that begin with the prefix, which is not empty.
// No other operation of the transaction may touch a key below it.
func DeletePrefix(prefix string) Op { return Op{Kind: OpDeletePrefix, Key: prefix} }
