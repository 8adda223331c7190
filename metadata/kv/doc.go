// Package kv owns the seam to the store of the cluster's state: keys with revisions, transactions
// under comparisons, leases and watches, and the replication state of the store's members (Quorum).
// kv/etcd implements the seam on etcd, kvtest.MemStore in memory, and kvtest.Run checks both.
//
// It imports nothing of this module. It must not know which keys exist, what their values mean, or
// that brokers and topics exist.
//
// # Invariants
//
//   - There is one history: revisions grow, and a store that has shown a revision never shows an
//     older state. A store whose history has changed returns ErrWentBack from then on.
//   - A transaction writes all of its operations at one revision, or nothing.
//   - A watch yields every change of its keys, in order, whole revisions only. If it cannot, it
//     ends with an error.
//   - All keys of a lease are deleted at one revision, when the lease ends or is revoked.
//   - A call that returns ErrUnavailable may have written. A call that returns ErrConflict has not.
package kv
