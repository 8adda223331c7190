package interbroker

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
)

// Dialer creates connections to other brokers.
type Dialer struct {
	Listener string // name of the listeners for connections between brokers
	// TLS returns the configuration for a connection to a host; nil: the listeners use plain TCP.
	TLS func(host string) *tls.Config
}

// Dial is a replication.Dial.
func (d Dialer) Dial(broker metadata.Broker) replication.LeaderConn {
	return &Conn{dialer: d, broker: broker, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))}
}

const (
	dialTimeout = 2 * time.Second
	clientID    = "varve-replica"
	// maxResponse bounds the announced size that a Conn accepts. It is above the largest response
	// of a broker, in which a single batch may exceed all limits.
	maxResponse = 1 << 30
	// keptBuffer is the buffer size that a connection keeps even if its answers are smaller now.
	keptBuffer = 16 << 20
)

// Conn is a replication.LeaderConn.
type Conn struct {
	dialer  Dialer
	broker  metadata.Broker
	format  *kmsg.RequestFormatter
	conn    net.Conn
	replica bool    // a follower's fetch was sent on it
	pending pending // what Hurry, called from other goroutines, may see
	request []byte
	answer  []byte
	session session
	fetched []replication.ReplicaFetched
}

// Close closes the connection in order, so that the leader knows that its follower is alive.
func (c *Conn) Close() {
	if c.conn != nil && c.replica {
		c.takeLeave()
	}
	c.drop()
}

// drop closes the connection without an announcement.
func (c *Conn) drop() {
	if c.conn != nil {
		_ = c.conn.Close() // no request in flight has a waiting caller
	}
	c.conn, c.replica = nil, false
	c.session = session{}
}

// connect connects if there is no connection.
func (c *Conn) connect(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	l, ok := c.broker.Listener(c.dialer.Listener)
	if !ok {
		return fmt.Errorf("connect to broker %d: it has no listener %s: %w", c.broker.ID, c.dialer.Listener, replication.ErrUnreachable)
	}
	conn, err := c.dialer.connect(ctx, l)
	if err != nil {
		return fmt.Errorf("connect to broker %d: %w: %w", c.broker.ID, replication.ErrUnreachable, err)
	}
	c.conn = conn
	return nil
}

// connect opens a connection to another broker's listener.
func (d Dialer) connect(ctx context.Context, l metadata.Listener) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", l.Address())
	if err != nil || d.TLS == nil {
		return conn, err
	}
	secure := tls.Client(conn, d.TLS(l.Host))
	if err = secure.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // nothing was sent on it
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return secure, nil
}

// exchange sends a request and returns the body of its answer. After an error the connection is
// closed. Hurry can end the wait for the answer to a follower's fetch; replica is nil for other
// requests.
func (c *Conn) exchange(ctx context.Context, req kmsg.Request, replica *metadata.Member) (body []byte, err error) {
	if err = c.connect(ctx); err != nil {
		return nil, err
	}
	// The function may run after this call has ended. It must then use the connection that it was
	// made for.
	conn := c.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		if !stop() && err == nil {
			// The function has set the connection's deadline to the past.
			err = errors.New("the answer came too late")
		}
		if err != nil {
			body = nil
			c.pending.ends()
			c.drop()
			if cause := ctx.Err(); cause != nil {
				err = fmt.Errorf("%w: %w", cause, err)
			}
			err = fmt.Errorf("%s at broker %d: %w: %w", protocol.APIName(req.Key()), c.broker.ID, replication.ErrUnreachable, err)
		}
	}()
	id := c.pending.nextID()
	c.request = c.format.AppendRequest(c.request[:0], req, id)
	if _, err = conn.Write(c.request); err != nil {
		return nil, err
	}
	if replica != nil {
		c.replica = true
		c.pending.begins(conn, *replica)
	}
	if body, err = c.receive(id); err != nil || replica == nil {
		return body, err
	}
	return body, c.skip(c.pending.ends())
}

// receive reads the answer to a request.
func (c *Conn) receive(id int32) (body []byte, err error) {
	n, err := c.readHead(id)
	if err != nil {
		return nil, err
	}
	if cap(c.answer) < n || cap(c.answer) > keptBuffer && n < keptBuffer/4 {
		c.answer = make([]byte, n, max(n, 64<<10))
	}
	c.answer = c.answer[:n]
	if _, err = io.ReadFull(c.conn, c.answer); err != nil {
		return nil, err
	}
	return c.answer, nil
}

// readHead reads the beginning of the answer to a request and returns how many bytes follow.
func (c *Conn) readHead(id int32) (int, error) {
	var head [9]byte // size, correlation id, number of tagged fields
	if _, err := io.ReadFull(c.conn, head[:]); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 5 || n > maxResponse {
		return 0, fmt.Errorf("the answer announces %d bytes", n)
	}
	if got := int32(binary.BigEndian.Uint32(head[4:])); got != id {
		return 0, fmt.Errorf("the answer has correlation id %d, %d was asked", got, id)
	}
	if head[8] != 0 {
		return 0, errors.New("the answer's header has tagged fields, which none is known of")
	}
	return int(n) - 5, nil
}
