// Package etcd implements kv.Store on etcd. OpenEmbedded runs an etcd member inside this process:
// the only member, which listens on no port at all, or one of several members in as many brokers.
// Open connects to a cluster elsewhere, which may be that of other brokers.
//
// The package owns the translation: keys get the cluster's root /varve/<cluster>/, errors become
// those of package kv, and every request gets a deadline. It knows nothing of what the keys mean.
//
// A member without files begins a cluster only if all others are blank as well, or is added again
// by a majority of them (Member.decide).
//
// A write without a reply is ErrUnavailable and may have happened: the client repeats only requests
// that certainly have not reached a server. All errors that etcd returns while it changes its
// leader are ErrUnavailable too.
//
// An embedded member whose database is full makes room by itself (spaceKeeper).
//
// The revision and the cluster id of an answer (not of Revoke's) show that etcd was restored to an
// older state, or that another etcd is in its place. All brokers notice that within a renewal of
// their leases (history).
//
// Connections to a member elsewhere that is connected but silent are cut after about a second. A
// watch then continues on another member from its position.
package etcd
