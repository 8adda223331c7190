// Package notify carries hints between brokers over NATS: something changed, go
// and look. It owns the embedded NATS server or the connection to an external
// one, the subjects, and the payloads. The embedded servers of several brokers
// are joined by routes (Routes); one that reaches no other serves its own broker.
//
// A hint may be lost, late, repeated or false; the truth is in the metadata
// store and in the logs. So publishing never blocks and never fails: with NATS
// out of reach hints are dropped and counted, and everything works, only later.
// The package knows nothing of what its readers do with a hint.
//
// # Subjects
//
//	varve.<cluster>.segment-tiered     SegmentTiered
//	varve.<cluster>.broker-suspect     BrokerSuspect
//
// A payload is {"v":1,"hint":{…}}, a few hundred bytes of JSON. Readers ignore fields that they do not know and drop versions above theirs.
package notify
