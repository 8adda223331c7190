package tiering

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/varvelog/varve/stepped"
)

// streams bounds the uploads under way at a time, over all partitions. A partition takes as many as
// are free, up to its number of segments: a partition that is alone gets all. Each stream is given
// back as soon as its segment is uploaded. Partitions that wait are served in order of arrival:
// each waits for one upload of every partition before it, however long their backlogs are.
type streams struct {
	changed stepped.Broadcast // a stream is free, or another waiter is first
	mu      struct {
		sync.Mutex
		free    int
		waiting list.List // without values; only the first one may take
	}
}

func newStreams(n int) *streams {
	s := &streams{}
	s.mu.free = n
	return s
}

// take waits for its turn and a free stream, and takes up to most.
func (s *streams) take(ctx context.Context, most int) (int, error) {
	turn := s.enter()
	defer s.leave(turn)
	if !s.changed.Wait(ctx, func() bool { return s.serves(turn) }) {
		return 0, fmt.Errorf("%w: wait for a free upload stream: %w", ErrUnavailable, context.Cause(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(most, s.mu.free)
	s.mu.free -= n
	return n, nil
}

func (s *streams) enter() *list.Element {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.waiting.PushBack(nil)
}

func (s *streams) leave(turn *list.Element) {
	s.mu.Lock()
	s.mu.waiting.Remove(turn)
	s.mu.Unlock()
	s.changed.Signal()
}

// serves reports whether it is turn's turn and a stream is free.
func (s *streams) serves(turn *list.Element) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.free > 0 && s.mu.waiting.Front() == turn
}

// give returns n streams.
func (s *streams) give(n int) {
	s.mu.Lock()
	s.mu.free += n
	s.mu.Unlock()
	s.changed.Signal()
}
