// Package broker is the Kafka side of a Varve process: it accepts connections, reads requests, calls the one owner of what each request
// is about, and writes the responses in the order of the requests. It owns no data. What it must not know: files, objects, etcd.
//
//	listener ──accept──▶ connection ┬ reader: frame → header → shape check → decode → (produce: stage 1) ─┐ bounded queue
//	                                └ writer: stage 2 (waits, may block) → encode → write ◀──────────────┘ in request order
//
// Every API has one file, NN_api.go, NN being its key, and one line in the table in apis.go; ApiVersions, docs/api.md and the dispatch
// come from that table. A handler validates, calls one owner and maps errors by the one table in errors.go.
//
// Invariants:
//
//   - B1. Responses leave a connection in the order in which its requests came, one for each request, except for Produce with acks=0.
//   - B2. No bytes from a client panic the process, hang a goroutine for good or cost memory beyond the budget: a panic in a handler
//     ends its connection and is logged once, in connection.guard.
//   - B3. Nothing is advertised that is not served.
//   - B4. Every goroutine of a connection ends before Listener.Serve returns.
package broker
