package etcd

import (
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"
)

// handOverTimeout bounds how long a leading member that stops waits for another member to lead. If
// all members stop at the same time, none is left to lead. An election takes half of it at most.
const handOverTimeout = 2 * time.Second

// end stops an embedded server.
type end struct {
	began atomic.Bool

	mu struct {
		sync.Mutex
		servers []*grpc.Server // the servers for clients
	}
}

// add is called with each server for clients before it serves.
func (e *end) add(s *grpc.Server) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.servers = append(e.mu.servers, s)
}

// stop stops the server. It first closes its clients' connections, because etcd would wait for
// their watches, which do not end; the clients continue on another member. Then it stops the
// member, which hands over its leadership.
func (e *end) stop(server *embed.Etcd) {
	e.began.Store(true)
	e.mu.Lock()
	servers := e.mu.servers
	e.mu.Unlock()
	for _, s := range servers {
		s.Stop()
	}
	giveUp := time.AfterFunc(handOverTimeout, server.Server.HardStop)
	defer giveUp.Stop()
	server.Close()
}
