package main

import (
	"context"
	"syscall"
)

// The sizes of records, in bytes.
const (
	largeRecord = 1024
	smallRecord = 100
)

// loadFunc loads a broker until ctx ends, and counts what is done.
type loadFunc func(ctx context.Context, t target, count *counters) error

// leg is one thing that is measured.
type leg struct {
	name  string
	about string // for the list of legs
	unit  string
	// load is nil for a leg that ends a broker.
	load   loadFunc
	filled bool           // load reads the filled topic, and writes to none of its own
	signal syscall.Signal // that a failover leg sends to the leader
}

// target is what a load works on.
type target struct {
	addresses []string
	topic     string
	records   int64 // in a filled topic
}

// allLegs returns the legs in the order in which they run. The legs that write most come last, so
// that the others do not wait for what these left to be written to the disk.
func allLegs() []leg {
	const acksAll = -1
	return []leg{
		produceLeg("small.c1", requestsPerSecond,
			"one record of 100 B a request, one request in flight, one connection",
			produceLoad{size: smallRecord, records: 1, acks: acksAll, conns: 1, inFlight: 1}),
		produceLeg("small.c16", requestsPerSecond,
			"the same on 16 connections",
			produceLoad{size: smallRecord, records: 1, acks: acksAll, conns: 16, inFlight: 1}),
		fetchLeg("fetch.hot", "fetch from the page cache, two plain connections that read the headers of batches", 2),
		fetchLeg("fetch.hot.one", "the same on one connection", 1),
		{
			name:  "go.consume",
			about: "franz-go consumes every record of the same topic",
			unit:  megabytesPerSecond, filled: true,
			load: func(ctx context.Context, t target, count *counters) error {
				return goConsume(ctx, t.addresses, t.topic, t.records, count)
			},
		},
		produceLeg("produce.1k.acks1", megabytesPerSecond,
			"batches of 250 records of 1 KiB, acks=1, 4 plain connections with 5 requests in flight",
			produceLoad{size: largeRecord, records: 250, acks: 1, conns: 4, inFlight: 5}),
		produceLeg("produce.1k.acksall", megabytesPerSecond,
			"the same with acks=all",
			produceLoad{size: largeRecord, records: 250, acks: acksAll, conns: 4, inFlight: 5}),
		produceLeg("produce.1k.lz4", megabytesPerSecond,
			"the same with acks=all and lz4; payload counts before compression",
			produceLoad{size: largeRecord, records: 250, acks: acksAll, lz4: true, conns: 4, inFlight: 5}),
		produceLeg("produce.100b", megabytesPerSecond,
			"batches of 2,560 records of 100 B, acks=all, the same connections",
			produceLoad{size: smallRecord, records: 2560, acks: acksAll, conns: 4, inFlight: 5}),
		{
			name:  "go.produce",
			about: "franz-go produces records of 1 KiB, acks=all, linger 5 ms, batches of 256 KiB",
			unit:  megabytesPerSecond,
			load: func(ctx context.Context, t target, count *counters) error {
				return goProduce(ctx, t.addresses, t.topic, largeRecord, count)
			},
		},
		{
			name:  "failover.kill",
			about: "SIGKILL of the leader of all partitions, one of three brokers, until each acknowledges a new record",
			unit:  secondsTaken, signal: syscall.SIGKILL,
		},
		{
			name:  "failover.term",
			about: "the same with SIGTERM",
			unit:  secondsTaken, signal: syscall.SIGTERM,
		},
	}
}

func produceLeg(name, unit, about string, load produceLoad) leg {
	return leg{
		name: name, about: about, unit: unit,
		load: func(ctx context.Context, t target, count *counters) error {
			return load.run(ctx, t.addresses[0], t.topic, count)
		},
	}
}

func fetchLeg(name, about string, conns int) leg {
	return leg{
		name: name, about: about, unit: megabytesPerSecond, filled: true,
		load: func(ctx context.Context, t target, count *counters) error {
			return fetchLoad{size: largeRecord, conns: conns}.run(ctx, t.addresses[0], t.topic, count)
		},
	}
}

// smallLoad runs after a broker has started.
func smallLoad() produceLoad {
	return produceLoad{size: smallRecord, records: 1, acks: -1, conns: 16, inFlight: 1}
}

// fillLoad writes the topic that the consuming legs read, in small batches.
func fillLoad() produceLoad {
	return produceLoad{size: largeRecord, records: 16, acks: -1, conns: 4, inFlight: 20}
}
