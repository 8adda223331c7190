package tiering

import (
	"context"
	"fmt"
	"sync"

	"github.com/varvelog/varve/stepped"
)

// streams are the uploads that may be under way at a time, over all partitions. A partition takes as
// many as are free and as it has segments for: one that is alone has all of them. Each is given back
// as soon as its segment is there, so that another partition waits for one upload at the most.
type streams struct {
	given stepped.Broadcast
	mu    struct {
		sync.Mutex
		free int
	}
}

func newStreams(n int) *streams {
	s := &streams{}
	s.mu.free = n
	return s
}

// take waits until there is a free one, and takes up to most.
func (s *streams) take(ctx context.Context, most int) (int, error) {
	for {
		if n := s.tryTake(most); n > 0 {
			return n, nil
		}
		if !s.given.Wait(ctx, s.someFree) {
			return 0, fmt.Errorf("%w: wait for a free upload stream: %w", ErrUnavailable, context.Cause(ctx))
		}
	}
}

func (s *streams) tryTake(most int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(most, s.mu.free)
	s.mu.free -= n
	return n
}

func (s *streams) someFree() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.free > 0
}

// give gives n of them back.
func (s *streams) give(n int) {
	s.mu.Lock()
	s.mu.free += n
	s.mu.Unlock()
	s.given.Signal()
}
