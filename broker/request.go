package broker

import (
	"net"
	"sync/atomic"

	"github.com/varvelog/varve/groups"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// Request is what a handler knows of the request beside its body. Byte slices in the body are valid
// until the response has been written (for an API marked retainsFrame: forever). Strings are
// copies.
type Request struct {
	protocol.RequestHeader

	Remote   net.Addr
	Host     string // Remote's address without the port
	Listener string // name of the listener that the client connected to

	conn  *connection // nil in tests of handlers
	abort atomic.Pointer[string]
}

// Software is what a client sent about itself with ApiVersions v3+ (KIP-511). Both are empty if it
// sent nothing.
type Software struct{ Name, Version string }

// Software returns the client software of this request's connection.
func (r *Request) Software() Software {
	if r.conn == nil {
		return Software{}
	}
	return *r.conn.software.Load()
}

// groupClient returns the client of the request as groups show it.
func (r *Request) groupClient() groups.ClientInfo {
	return groups.ClientInfo{ID: r.ClientID, Host: "/" + r.Host}
}

// setSoftware stores what the client sent about itself.
func (r *Request) setSoftware(s Software) {
	if r.conn != nil {
		r.conn.software.Store(&s)
	}
}

// hurry returns a channel with a token when the follower that fetches on the connection has sent
// another request, so that its fetch must not wait any longer.
func (r *Request) hurry() <-chan struct{} {
	if r.conn == nil {
		return nil
	}
	return r.conn.hurry
}

// setFollower stores which broker fetches on the connection; nil: none any more. A follower ends
// its use of a connection with a last fetch that names no replica: after it the end of the
// connection is no sign of a dead process.
func (r *Request) setFollower(m *metadata.Member) {
	if r.conn != nil {
		r.conn.loader.Store(m)
	}
}

// CloseConnection ends the connection after everything before this request has been answered. This
// is how Kafka reports the failure of a request without a response: Produce with acks=0. It may be
// called in either stage.
func (r *Request) CloseConnection(reason string) { r.abort.Store(&reason) }
