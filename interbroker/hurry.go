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

// writeAside bounds how long a request may take to be written that nobody waits for.
const writeAside = 50 * time.Millisecond

// pending is the request that a Conn waits for an answer to, as other goroutines see it.
type pending struct {
	mu      sync.Mutex
	conn    net.Conn // has the request; nil: none is under way
	hurry   bool     // the next fetch must not wait
	replica metadata.Member
	nudge   int32 // correlation id of what was sent behind the request; 0: nothing
	next    int32 // correlation id
}

// nextID is the correlation id of a request.
func (p *pending) nextID() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	return p.next
}

// takeHurry tells whether the next fetch must not wait.
func (p *pending) takeHurry() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	hurry := p.hurry
	p.hurry = false
	return hurry
}

// begins notes that a fetch has been written.
func (p *pending) begins(conn net.Conn, replica metadata.Member) {
	p.mu.Lock()
	p.conn, p.replica = conn, replica
	again := p.hurry
	p.hurry = false
	p.mu.Unlock()
	if again { // asked for while it was written
		p.send()
	}
}

// ends notes that the answer is there, or will not come, and returns what was sent behind the request.
func (p *pending) ends() (nudge int32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	nudge = p.nudge
	p.conn, p.nudge = nil, 0
	return nudge
}

// send sends a request behind the one under way. A leader answers a follower's fetch when another
// request comes. If none is under way the next fetch does not wait.
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
			_ = p.conn.Close() // the fetch under way fails
		}
	}
}

// Hurry implements replication.LeaderConn.
func (c *Conn) Hurry() { c.pending.send() }

// emptyFetch asks for nothing, outside of any session.
func emptyFetch(replica metadata.Member) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.Version, req.SessionEpoch = fetchVersion, -1
	req.ReplicaState.ID, req.ReplicaState.Epoch = replica.Broker, replica.Epoch
	return req
}

func writeFetch(conn net.Conn, req *kmsg.FetchRequest, id int32) error {
	_ = conn.SetWriteDeadline(time.Now().Add(writeAside)) // it fails only on a closed connection
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))
	if _, err := conn.Write(format.AppendRequest(nil, req, id)); err != nil {
		return fmt.Errorf("send an empty fetch: %w", err)
	}
	return conn.SetWriteDeadline(time.Time{})
}

// takeLeave says, in no replica's name, that this side is about to close the connection. The session
// ends with it.
func (c *Conn) takeLeave() {
	req := emptyFetch(metadata.Member{Broker: -1, Epoch: -1})
	req.SessionID = c.session.id
	// Without it the leader has this process probed, which does no harm.
	_ = writeFetch(c.conn, req, c.pending.nextID())
}

// skip reads the answer to a request that was sent behind another one.
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

// maxSkipped bounds the answer to a request for nothing, in bytes.
const maxSkipped = 1 << 10
