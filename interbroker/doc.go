// Package interbroker is how a broker talks to another one: Kafka's protocol over one connection, spoken as a client. It owns the
// connection, the fetch session on it and the buffer of the answer. It knows nothing of logs: replication decides what to ask for and
// what to do with what comes.
//
// A Conn belongs to one goroutine. What Fetch returns lies in the connection's buffer until the next call.
package interbroker
