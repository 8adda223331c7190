// Package notify carries hints between brokers over NATS: a change has happened, and its readers
// should look. It owns the embedded NATS server or the connection to an external one, the subjects,
// and the payloads. The embedded servers of several brokers are connected by routes (Routes). A
// server that reaches no other serves its own broker.
//
// A hint may be lost, late, repeated or false: the truth is in the metadata store and in the logs.
// So publishing never blocks and never fails. While NATS is unreachable, hints are dropped and
// counted, and everything works, only later. The package knows nothing of what its readers do with
// a hint.
//
// # Subjects
//
//	varve.<cluster>.segment-tiered     SegmentTiered
//	varve.<cluster>.broker-suspect     BrokerSuspect
//
// A payload is {"v":1,"hint":{…}}, a few hundred bytes of JSON. Readers ignore unknown fields and
// drop versions above theirs.
package notify
