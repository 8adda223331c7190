// Package kv owns the seam to the store that holds the cluster's state: keys with
// revisions, transactions under comparisons, leases and watches, and what the store's
// members say of their replication (Quorum). kv/etcd implements it on etcd, kvtest.MemStore
// in memory, and kvtest.Run checks both.
//
// It imports nothing of this module. It must not know which keys there are, what
// their values mean, or that brokers and topics exist.
//
// # Invariants
//
//   - There is one history: revisions grow, and a store that has shown a revision never
//     shows an older state. One whose history is another is ErrWentBack from then on.
//   - A transaction writes all of its operations at one revision, or nothing.
//   - A watch shows every change of its keys, in order, whole revisions only; if it
//     cannot, it ends with an error.
//   - All keys of a lease go at one revision, when it ends or is revoked.
//   - A call that returns ErrUnavailable may have written. One that returns ErrConflict
//     has not.
package kv
