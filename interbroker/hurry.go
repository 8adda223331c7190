package interbroker

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
)

// writeAside bounds the write of a request whose answer the caller does not wait for.
const writeAside = 50 * time.Millisecond

// pending is the request that a Conn waits for an answer to, as other goroutines see it.
type pending struct {
	mu      sync.Mutex
	conn    net.Conn // the request was sent on it; nil: no request is in progress
	hurry   bool     // the next fetch must not wait at the leader
	replica metadata.Member
	nudge   int32 // correlation id of the empty fetch sent after the request; 0: none was sent
	next    int32 // the last correlation id that was used
}

// nextID returns a new correlation id.
func (p *pending) nextID() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	return p.next
}

// takeHurry reports whether the next fetch must not wait, and clears the flag.
func (p *pending) takeHurry() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	hurry := p.hurry
	p.hurry = false
	return hurry
}

// begins records that a fetch has been written.
func (p *pending) begins(conn net.Conn, replica metadata.Member) {
	p.mu.Lock()
	p.conn, p.replica = conn, replica
	again := p.hurry
	p.hurry = false
	p.mu.Unlock()
	if again { // Hurry was called during the write
		p.send()
	}
}

// ends records that the answer has arrived, or never will. It returns the correlation id of the
// empty fetch that was sent after the request, 0 if none.
func (p *pending) ends() (nudge int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	nudge = p.nudge
	p.conn, p.nudge = nil, 0
	return nudge
}

// send sends an empty fetch after the fetch in progress. A leader answers a follower's fetch when
// another request arrives. If no fetch is in progress the next one does not wait.
func (p *pending) send() {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.conn == nil:
		p.hurry = true
	case p.nudge == 0:
		p.next++
		p.nudge = p.next
		if writeFetch(p.conn, emptyFetch(p.replica), p.nudge) != nil {
			_ = p.conn.Close() // the fetch in progress fails
		}
	}
}

// Hurry implements replication.LeaderConn.
func (c *Conn) Hurry() { c.pending.send() }

// emptyFetch returns a fetch of no partition, outside any session.
func emptyFetch(replica metadata.Member) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.SessionEpoch = fetchVersion, -1
	req.ReplicaState.ID, req.ReplicaState.Epoch = replica.Broker, replica.Epoch
	return req
}

func writeFetch(conn net.Conn, req *kmsg.FetchRequest, id int32) error {
	_ = conn.SetWriteDeadline(time.Now().Add(writeAside)) // fails only on a closed connection
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))
	if _, err := conn.Write(format.AppendRequest(nil, req, id)); err != nil {
		return fmt.Errorf("send an empty fetch: %w", err)
	}
	return conn.SetWriteDeadline(time.Time{})
}

// takeLeave announces, in a fetch that names no replica, that this side is about to close the
// connection. The session ends with it.
func (c *Conn) takeLeave() {
	req := emptyFetch(metadata.Member{Broker: -1, Epoch: -1})
	req.SessionID = c.session.id
	// If the write fails, the leader has this process probed, which does no harm.
	_ = writeFetch(c.conn, req, c.pending.nextID())
}

// skip reads the answer to an empty fetch that was sent after another request.
func (c *Conn) skip(id int32) error {
	if id == 0 {
		return nil
	}
	n, err := c.readHead(id)
	if err == nil && n > maxSkipped {
		err = errors.New("the answer to an empty fetch is not empty")
	}
	if err != nil {
		return err
	}
	if _, err = io.CopyN(io.Discard, c.conn, int64(n)); err != nil {
		return fmt.Errorf("read the answer to an empty fetch: %w", err)
	}
	return nil
}

// maxSkipped bounds the answer to an empty fetch, in bytes.
const maxSkipped = 1 << 10
