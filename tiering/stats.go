package tiering

import "sync/atomic"

// Stats are what the remote tier has done for one topic since this broker has
// replicas of it. The partitions of the topic share them, so that counting takes
// no look-up.
type Stats struct {
	CopyBytes, CopyRequests, CopyErrors    atomic.Int64 // segments that go up: bytes of objects, attempts, failures
	FetchBytes, FetchRequests, FetchErrors atomic.Int64 // reads on behalf of fetches: bytes of batches, reads, failures
	DeleteRequests, DeleteErrors           atomic.Int64 // deletions of what has expired: attempts, failures
}
