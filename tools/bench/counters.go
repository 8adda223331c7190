package main

import "sync/atomic"

// counters are what a load has done so far.
type counters struct {
	requests, records, bytes atomic.Int64 // bytes of record values, before compression
}

// counts are counters at a moment, or the difference of two.
type counts struct {
	requests, records, bytes int64
}

func (c *counters) now() counts {
	return counts{c.requests.Load(), c.records.Load(), c.bytes.Load()}
}

func (c counts) minus(earlier counts) counts {
	return counts{c.requests - earlier.requests, c.records - earlier.records, c.bytes - earlier.bytes}
}

func (c *counters) add(requests, records, bytes int64) {
	c.requests.Add(requests)
	c.records.Add(records)
	c.bytes.Add(bytes)
}
