package broker

import (
	"net"
	"sync/atomic"

	"github.com/varvelog/varve/groups"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// Request is what a handler knows of the request beside its body. Byte slices in the body are valid until the response has been
// written (for an API marked retainsFrame: for ever); strings are copies.
type Request struct {
	protocol.RequestHeader

	Remote   net.Addr
	Host     string // Remote's address without the port
	Listener string // name of the listener that the connection came in by

	conn  *connection // nil in tests of handlers
	abort atomic.Pointer[string]
}

// Software is what a client said of itself by ApiVersions v3+ (KIP-511); both empty when it said nothing.
type Software struct{ Name, Version string }

// Software is what the client of this request's connection is.
func (r *Request) Software() Software {
	if r.conn == nil {
		return Software{}
	}
	return *r.conn.software.Load()
}

// groupClient is who the request came from, as groups show it.
func (r *Request) groupClient() groups.ClientInfo {
	return groups.ClientInfo{ID: r.ClientID, Host: "/" + r.Host}
}

// setSoftware keeps what the client said of itself.
func (r *Request) setSoftware(s Software) {
	if r.conn != nil {
		r.conn.software.Store(&s)
	}
}

// hurry has a token when the follower that fetches through the connection does not want to wait any longer.
func (r *Request) hurry() <-chan struct{} {
	if r.conn == nil {
		return nil
	}
	return r.conn.hurry
}

// setFollower keeps which broker fetches through the connection; nil: none any more. With a last fetch that names no replica a follower
// takes its leave: that the connection ends then says nothing of its process.
func (r *Request) setFollower(m *metadata.Member) {
	if r.conn != nil {
		r.conn.loader.Store(m)
	}
}

// CloseConnection makes the connection end once everything before this request has been answered. It is how Kafka reports the failure
// of a request that has no response: Produce with acks=0. May be called in either stage.
func (r *Request) CloseConnection(reason string) { r.abort.Store(&reason) }
