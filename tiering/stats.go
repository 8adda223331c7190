package tiering

import "sync/atomic"

// Stats counts what the remote tier has done for one topic since this broker has replicas of it.
// The partitions of the topic share it, so that counting takes no look-up.
type Stats struct {
	// Uploads of segments: bytes of objects, attempts, failures.
	CopyBytes, CopyRequests, CopyErrors atomic.Int64
	// Reads on behalf of fetches: bytes of batches, reads, failures.
	FetchBytes, FetchRequests, FetchErrors atomic.Int64
	// Deletions of what has expired: attempts, failures.
	DeleteRequests, DeleteErrors atomic.Int64
}
