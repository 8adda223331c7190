// Package server puts a broker together. It builds every part from the settings, starts the parts
// in the order in which they need each other, and stops them in the reverse order. It joins the
// interfaces that one package declares and another one implements. Of its own it has two small
// files that carry facts from one process to the next: last-registration (last_registration.go) and
// metadata-revision (seen_revision.go).
//
// Start: the object store, which may be unreachable (object_store.go), and the control plane (etcd,
// NATS); then the metadata image; the local log, which may have to recover; the tier, replicas and
// coordinators, which serve the log; the registration, which makes this broker known to the
// cluster; and, once the broker leads its partitions, the listeners.
//
// The file last-registration in the data and log directories says what the logs have kept of the
// last process. It becomes part of the registration. A data directory that fails is reported to the
// cluster (directories.go).
//
// Stop, on SIGTERM: leadership moves to other brokers, the listeners take no more requests and
// answer the accepted ones, the broker deregisters, replicas, coordinators and the tier end, logs
// are flushed and marked clean, and the control plane stops after them.
package server
