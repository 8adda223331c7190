// Package server puts a broker together: it builds every part from the
// settings, starts them in the order in which they need each other, and stops
// them in the reverse order. It owns no state and no rules of its own; an
// interface that one package declares and another one implements is joined here.
//
// Start: object store, which may be away (object_store.go), and control plane
// (etcd, NATS), then the metadata image, then the local log (which may have to
// recover), then what serves it (tier, replicas, coordinators), then the
// registration that tells the cluster about this broker, and, once the broker leads
// what it is to lead, the listeners.
//
// What the last process has kept of its logs is read from last-registration in the
// data and log directories (last_registration.go), and goes into the registration. A data
// directory that fails is told to the cluster (directories.go).
//
// Stop, on SIGTERM: the listeners take no more requests and answer those they
// have, the broker deregisters, coordinators and replicas end, logs are flushed
// and marked clean, and the control plane goes last.
package server
