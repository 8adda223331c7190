package tiering

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"github.com/varvelog/varve/stepped"
)

// streams are the uploads that may be under way at a time, over all partitions. A partition takes as
// many as are free and as it has segments for: one that is alone has all of them. Each is given back
// as soon as its segment is there, and those who wait are served in the order in which they came: a
// partition waits for one upload of each that came before it, however long their backlogs are.
type streams struct {
	changed stepped.Broadcast // one is free, or another is the first that waits
	mu      struct {
		sync.Mutex
		free    int
		waiting list.List // without values; only the first one takes
	}
}

func newStreams(n int) *streams {
	s := &streams{}
	s.mu.free = n
	return s
}

// take waits for its turn until there is a free one, and takes up to most.
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

func (s *streams) serves(turn *list.Element) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.free > 0 && s.mu.waiting.Front() == turn
}

// give gives n of them back.
func (s *streams) give(n int) {
	s.mu.Lock()
	s.mu.free += n
	s.mu.Unlock()
	s.changed.Signal()
}
