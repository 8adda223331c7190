// Package broker is the Kafka side of a Varve process. It accepts connections, reads requests,
// calls the one owner of the data that each request is about, and writes the responses in the order
// of the requests. It owns no data. What it must not know: files, objects, etcd.
//
//	client ──▶ reader: frame → header → shape check → decode
//	             │ Produce, stage 1: append ──────────────────────▶ replication
//	             ▼
//	           request queue: bounded, in request order
//	             ▼
//	           writer: handler, or stage 2 of Produce ──┬─────────▶ replication: local replicas
//	             │ may wait under the connection's ctx  ├─────────▶ groups: members, offsets
//	             ▼                                      └─────────▶ metadata: image, admin
//	client ◀── encode → write: one response at a time, in request order
//
// A connection has one reader and one writer goroutine. The reader answers a request by itself if
// the response needs no waiting and no earlier request is unanswered.
//
// Every API has one file, NN_api.go, where NN is its key, and one line in the table in apis.go. The
// dispatch, ApiVersions and docs/api.md come from that table. A handler validates, calls one owner,
// and maps errors by the one table in errors.go.
//
// Invariants:
//
//   - B1. Responses leave a connection in the order in which its requests arrived, one for each
//     request, except for Produce with acks=0.
//   - B2. No bytes from a client panic the process, hang a goroutine forever or cost memory beyond
//     the budget: a panic in a handler ends its connection and is logged once, in connection.guard.
//   - B3. Nothing is advertised that is not served.
//   - B4. Every goroutine of a connection ends before Listener.Serve returns.
package broker
