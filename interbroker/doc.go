// Package interbroker implements the client side of broker-to-broker requests: Kafka's protocol
// over one connection. It owns the connection, its fetch session and the buffer of the response. It
// knows nothing about logs: package replication decides what to fetch and what to do with the
// answer.
//
// A leader answers a waiting fetch when the next request arrives on the connection. Conn.Hurry
// sends a request for nothing, and Fetch reads both answers. Conn.Close announces the end of the
// connection with a fetch that names no replica, so that the leader does not suspect this process
// (hurry.go).
//
// A Conn belongs to one goroutine; only Hurry may be called from others. The result of Fetch lies
// in the connection's buffer and is valid until the next call.
package interbroker
