package broker

import "sync"

// connectionLimits bounds how many connections are open on all listeners together.
type connectionLimits struct {
	perHostMax int
	// slots holds one element for each open connection. The brokers' listener has slots of its own
	// if clients use another listener, so that clients cannot take the connections that replication
	// needs.
	slots       chan struct{}
	interBroker chan struct{}
	name        string // name of the brokers' listener

	mu struct {
		sync.Mutex
		perHost map[string]int
	}
}

func newConnectionLimits(cfg Config) *connectionLimits {
	l := &connectionLimits{
		perHostMax: cfg.MaxConnectionsPerIP, name: cfg.InterBrokerListener,
		slots: make(chan struct{}, cfg.MaxConnections), interBroker: make(chan struct{}, cfg.MaxConnections),
	}
	l.mu.perHost = make(map[string]int)
	return l
}

// slotsOf returns the slots of a listener.
func (l *connectionLimits) slotsOf(listener string) chan struct{} {
	if listener == l.name {
		return l.interBroker
	}
	return l.slots
}

// admit counts a connection from a host, or returns false if that host has too many. The caller
// calls leave once for each connection that was counted.
func (l *connectionLimits) admit(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.perHost[host] >= l.perHostMax {
		return false
	}
	l.mu.perHost[host]++
	return true
}

func (l *connectionLimits) leave(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.perHost[host]--; l.mu.perHost[host] == 0 {
		delete(l.mu.perHost, host)
	}
}
