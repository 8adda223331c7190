// Package client is how Varve's own tools access a cluster: a thin layer over franz-go (kgo, kadm)
// that returns plain values and errors that a person can act on. It speaks only the Kafka protocol,
// so everything here works against any Kafka cluster. What only Varve reports (the statistics of
// the remote tier) is absent there, not an error.
//
// It owns no state but its connections and knows nothing of how a broker works.
//
// Invariants:
//
//   - C1. Every call has a deadline: the caller's or, if that is later or absent, the timeout of
//     [Options].
//   - C2. Every error is one line for each thing that failed. The line includes what a user can do
//     about it. errors.Is and errors.As find the cause.
//   - C3. A call that asks for several things returns all that it could get and joins the errors of
//     the rest.
package client
