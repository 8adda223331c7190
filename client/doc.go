// Package client is how Varve's own tools talk to a cluster: a thin layer over franz-go (kgo, kadm) that gives plain values and errors
// a person can act on. It speaks the Kafka protocol and nothing else, so that everything here works against any Kafka cluster; what only
// Varve tells (the statistics of the remote tier) is absent there, not an error.
//
// It owns no state but its connections and knows nothing of how a broker works.
//
// Invariants:
//
//   - C1. Every call has a deadline: the caller's or, when that is later or absent, the timeout of [Options].
//   - C2. Every error is one line for each thing that failed. What a user can do about it is part of the line; the cause is behind errors.Is and errors.As.
//   - C3. A call that asks for several things answers for all that it could and joins the errors of the rest.
package client
