// Package etcd implements kv.Store on etcd: one that runs inside this
// process (OpenEmbedded), which is the only member and listens on no port at
// all, or one of several members in as many brokers; or a cluster elsewhere
// (Open), which may be that of other brokers.
//
// It owns the translation: keys get the cluster's root /varve/<cluster>/, errors
// become those of package kv, and every request gets a deadline. It knows
// nothing of what the keys mean.
//
// A member without files begins a cluster only if all others are blank as well,
// or is let in again by a majority of them (Member.decide).
//
// A write whose reply does not come is ErrUnavailable and may have happened;
// the client repeats only requests that certainly have not reached a server. So
// is whatever etcd answers while it changes its leader.
//
// An embedded member whose database is full makes room by itself (spaceKeeper).
//
// An etcd that was restored to an older state, or another one in its place, is
// noticed by the revision and the cluster id of any answer, and by all brokers
// within a renewal of their leases (history).
//
// A member elsewhere that is connected but silent is given up after about a
// second, and a watch goes on at another one where it was.
package etcd
