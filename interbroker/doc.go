// Package interbroker is how a broker talks to another one: Kafka's protocol over one connection, spoken as a client. It owns the
// connection, the fetch session on it and the buffer of the answer. It knows nothing of logs: replication decides what to ask for and
// what to do with what comes.
//
// A leader answers a fetch that waits when the next request comes on the connection. Conn.Hurry sends one that asks for nothing, and Fetch reads both
// answers. Conn.Close takes leave with a fetch in no replica's name, so that the leader does not suspect this process (hurry.go).
//
// A Conn belongs to one goroutine, but for Hurry. What Fetch returns lies in the connection's buffer until the next call.
package interbroker
