package broker

import "sync"

// connectionLimits are how many connections may be open, of all listeners
// together.
type connectionLimits struct {
	perHostMax int
	// slots hold one element for each open connection. Brokers' listener has its
	// own, if it is another one than clients', so that clients cannot take away
	// what replication needs.
	slots       chan struct{}
	interBroker chan struct{}
	name        string // of the brokers' listener

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

// slotsOf are those of a listener.
func (l *connectionLimits) slotsOf(listener string) chan struct{} {
	if listener == l.name {
		return l.interBroker
	}
	return l.slots
}

// admit counts a connection from a host, unless there are too many. For each
// that it has counted leave is called once.
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
