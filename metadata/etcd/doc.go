// Package etcd implements metadata.Store on etcd: one that runs inside this
// process (OpenEmbedded), which has a single member and listens on no port at
// all, or an external cluster (Open).
//
// It owns the translation: keys get the cluster's root /varve/<cluster>/, errors
// become those of package metadata, and every request gets a deadline. It knows
// nothing of what the keys mean.
//
// A write whose reply does not come is ErrUnavailable and may have happened;
// the client repeats only requests that certainly have not reached a server.
package etcd
