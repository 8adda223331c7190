package etcd

import (
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"
)

// handOverTimeout bounds how long a member that leads and is stopped waits for
// another one to lead: all may be stopping at once, and nobody is left to. An
// election takes half of it at most.
const handOverTimeout = 2 * time.Second

// end is how an embedded server ends.
type end struct {
	began atomic.Bool

	mu struct {
		sync.Mutex
		servers []*grpc.Server // for clients
	}
}

// add is called with each server for clients before it serves.
func (e *end) add(s *grpc.Server) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.mu.servers = append(e.mu.servers, s)
}

// stop stops the server: first its clients' connections, who go on at another
// member, because etcd would wait for their watches to end, and those do not;
// then the member, which hands over.
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
