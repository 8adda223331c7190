package broker

import "time"

// Config is what the listeners and handlers need of the broker's settings; the names in parentheses are Kafka's.
type Config struct {
	NodeID              int32  // node.id
	InterBrokerListener string // the listener that brokers come in by (inter.broker.listener.name)

	MaxRequestBytes     int32         // largest frame (socket.request.max.bytes)
	RequestBudgetBytes  int64         // all requests in memory together (queued.max.request.bytes, but no limit is math.MaxInt64)
	MaxInFlight         int           // requests read ahead on one connection
	MaxConnections      int           // accepted at a time, by brokers as many again if they have a listener of their own; further ones wait in the kernel's backlog (max.connections)
	MaxConnectionsPerIP int           // further ones are closed (max.connections.per.ip)
	IdleTimeout         time.Duration // (connections.max.idle.ms)
	ReadTimeout         time.Duration // how long each MiB of a request that has begun may take
	WriteTimeout        time.Duration // how long a response may take to be taken, plus a second for each 256 KiB of it
	HandshakeTimeout    time.Duration // how long a TLS handshake may take
	DrainTimeout        time.Duration // how long requests that were accepted may go on after the listener has been told to stop

	SelectByRack      bool  // consumers are sent to a replica in their rack (replica.selector.class)
	FetchMaxBytes     int32 // largest fetch response, but for one batch (fetch.max.bytes)
	FetchSessionSlots int   // incremental fetch sessions that are remembered (max.incremental.fetch.session.cache.slots)
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

// writeDeadline is how long a response of n bytes may take.
func (c Config) writeDeadline(n int64) time.Duration {
	return c.WriteTimeout + time.Duration(n>>18)*time.Second
}
