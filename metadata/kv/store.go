package kv

import (
	"context"
	"iter"
	"time"
)

// Store is the seam to the store of the cluster's state. Every key is relative to the root of one
// cluster ("topics/orders"), so that only the store knows where that root is.
//
// Revisions are those of etcd: one number for the whole store, which grows with every transaction
// that changes something. All keys that one transaction changes get the same revision. kvtest has
// the conformance suite.
//
// The revision of an answer shows a store that it no longer has the history that it has shown
// before. From then on every call returns ErrWentBack, and watches end with it.
//
// Every call ends when ctx does. A call that the store did not answer in time returns
// ErrUnavailable; if it was a write, it may have happened.
type Store interface {
	// Get reads one key. A missing key is not an error: its Pair has the key, no value and a
	// ModRevision of zero (see Pair.Exists).
	Get(ctx context.Context, key string) (Pair, error)

	// List reads all keys that begin with prefix, in ascending order, as of one revision, which it
	// returns. It reads page by page internally.
	List(ctx context.Context, prefix string) ([]Pair, int64, error)

	// Txn applies all ops atomically if all comparisons hold, and returns the revision of the store
	// after it. Otherwise it writes nothing and returns ErrConflict. A key may occur in ops once,
	// and a put must not be under a prefix that is deleted. Portable transactions have at most
	// MaxTxnOps comparisons and as many ops. A put under a lease that has ended returns
	// ErrLeaseNotFound.
	Txn(ctx context.Context, comparisons []Comparison, ops ...Op) (int64, error)

	// Watch yields every change of the keys that begin with prefix, from the given revision on (at
	// least 1), in order and without gaps. The changes of one revision are never split between two
	// batches. It ends with an error: ErrCompacted, the context's, or another. It survives
	// reconnects. Breaking out of the loop ends the watch.
	Watch(ctx context.Context, prefix string, from int64) iter.Seq2[Batch, error]

	// Grant creates a lease that ends, and deletes its keys, if it is not renewed for ttl. The
	// store may round ttl up to whole seconds.
	Grant(ctx context.Context, ttl time.Duration) (LeaseID, error)

	// KeepAlive renews the lease once, for its full time to live.
	KeepAlive(ctx context.Context, lease LeaseID) error

	// Revoke ends the lease and deletes its keys at one revision. It returns nil for a lease that
	// has ended already.
	Revoke(ctx context.Context, lease LeaseID) error

	// Close ends all watches and frees the store's resources.
	Close() error
}

// MaxTxnOps is the number of comparisons, and of operations, that every etcd accepts in one
// transaction (its default limit is 128).
const MaxTxnOps = 120

// LeaseID names a lease of the store. Zero means no lease.
type LeaseID int64

// Pair is one key with its value and its revisions.
type Pair struct {
	Key            string
	Value          []byte // read only
	CreateRevision int64  // the revision that created the key, after its last deletion if any
	ModRevision    int64  // the revision that wrote this value
	Lease          LeaseID
}

// Exists reports whether the key existed.
func (pair Pair) Exists() bool { return pair.ModRevision != 0 }

// Event is one change of one key.
type Event struct {
	Pair
	// Deleted reports that the key was deleted at ModRevision; there is no value.
	Deleted bool
}

// Batch is a run of consecutive changes.
type Batch struct {
	// Revision is that of the last event. All earlier changes under the prefix have been yielded.
	Revision int64
	Events   []Event
}

// Comparison is a condition of a transaction. The zero value never holds; use the functions below.
type Comparison struct {
	Key      string
	Target   Target
	Revision int64
	Value    string // bytes; a string, so that Comparison is comparable
}

// Target is the property of a key that a Comparison compares.
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

// CreatedAt holds if the key exists and was created at that revision. Revision 0 means Absent.
func CreatedAt(key string, revision int64) Comparison {
	return Comparison{Key: key, Target: TargetCreateRevision, Revision: revision}
}

// ModifiedAt holds if the key exists and that revision wrote its value. Revision 0 means Absent.
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

// OpKind is the kind of an Op.
type OpKind int8

// The kinds of operations.
const (
	OpPut OpKind = iota + 1
	OpDelete
	OpDeletePrefix
)

// Put writes a key. The key is under no lease afterwards.
func Put(key string, value []byte) Op { return Op{Kind: OpPut, Key: key, Value: value} }

// PutLeased writes a key that is deleted when the lease ends.
func PutLeased(key string, value []byte, lease LeaseID) Op {
	return Op{Kind: OpPut, Key: key, Value: value, Lease: lease}
}

// Delete deletes a key. Deleting a missing key changes nothing.
func Delete(key string) Op { return Op{Kind: OpDelete, Key: key} }

// DeletePrefix deletes all keys that begin with the prefix, which must not be empty. No other
// operation of the transaction may touch a key under the prefix.
func DeletePrefix(prefix string) Op { return Op{Kind: OpDeletePrefix, Key: prefix} }
