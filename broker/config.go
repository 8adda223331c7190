package broker

import "time"

// Config holds the settings that listeners and handlers use. The names in parentheses are Kafka's.
type Config struct {
	NodeID int32 // node.id
	// name of the listener that brokers connect to (inter.broker.listener.name)
	InterBrokerListener string

	MaxRequestBytes int32 // largest frame (socket.request.max.bytes)
	// RequestBudgetBytes bounds all requests in memory together (queued.max.request.bytes, but
	// unlimited is math.MaxInt64).
	RequestBudgetBytes int64
	MaxInFlight        int // requests read ahead on one connection
	// MaxConnections is how many connections are open at a time. Brokers have as many again if they
	// have a listener of their own. Further ones wait in the kernel's backlog (max.connections).
	MaxConnections int
	// MaxConnectionsPerIP is how many connections one address may have; further ones are closed
	// (max.connections.per.ip).
	MaxConnectionsPerIP int
	IdleTimeout         time.Duration // (connections.max.idle.ms)
	// ReadTimeout is the time for each MiB of a request whose first byte has arrived.
	ReadTimeout time.Duration
	// WriteTimeout is the time in which the client must take a response, plus a second for each 256
	// KiB of it.
	WriteTimeout     time.Duration
	HandshakeTimeout time.Duration // for a TLS handshake
	// DrainTimeout is how long accepted requests may continue after the listener has begun to stop.
	DrainTimeout time.Duration

	// SelectByRack sends consumers to a replica in their rack (replica.selector.class).
	SelectByRack bool
	// FetchMaxBytes bounds a fetch response, which may exceed it by one batch (fetch.max.bytes).
	FetchMaxBytes int32
	// FetchSessionSlots is how many incremental fetch sessions the broker remembers
	// (max.incremental.fetch.session.cache.slots).
	FetchSessionSlots int
}

// DefaultConfig returns Kafka's defaults, and bounds where Kafka has none.
func DefaultConfig() Config {
	return Config{
		MaxRequestBytes:     100 << 20,
		RequestBudgetBytes:  256 << 20,
		MaxInFlight:         16,
		MaxConnections:      10_000,
		MaxConnectionsPerIP: 10_000,
		IdleTimeout:         10 * time.Minute,
		ReadTimeout:         30 * time.Second,
		WriteTimeout:        30 * time.Second,
		HandshakeTimeout:    10 * time.Second,
		DrainTimeout:        5 * time.Second,

		FetchMaxBytes:     55 << 20,
		FetchSessionSlots: 1000,
	}
}

// writeDeadline returns the time that a response of n bytes may take.
func (c Config) writeDeadline(n int64) time.Duration {
	return c.WriteTimeout + time.Duration(n>>18)*time.Second
}
