package groups

import (
	"context"
	"errors"
	"time"

	"github.com/varvelog/varve/coordinator"
	"github.com/varvelog/varve/metadata"
)

// Overview is what monitoring wants to know of a group.
type Overview struct {
	ID      string
	Members int
	Offsets map[metadata.TopicPartition]int64 // committed
}

// Overviews describes the groups that are coordinated here, in no particular order. Partitions that are being loaded are left out. It is
// bounded by ctx and asks every shard once.
func (c *Coordinator) Overviews(ctx context.Context) ([]Overview, error) {
	var all []Overview
	err := eachShard(ctx, c, (*shard).overviews, func(list []Overview) { all = append(all, list...) })
	return all, err
}

// Ping waits until every shard that is not loading has had its turn: that none of them is stuck.
func (c *Coordinator) Ping(ctx context.Context) error {
	return eachShard(ctx, c, func(*shard) struct{} { return struct{}{} }, func(struct{}) {})
}

// eachShard has every shard read something.
func eachShard[R any](ctx context.Context, c *Coordinator, look func(*shard) R, take func(R)) error {
	var waiters []*waiter
	for _, p := range c.runtime.Partitions() {
		w, err := c.runtime.Submit(p, read(func(s *shard, _ time.Time, w *waiter) decision { return answer(w, look(s)) }))
		if err == nil {
			waiters = append(waiters, w)
		}
		// Otherwise it was resigned, is being loaded, or has more to do than it takes on: the next time will tell.
	}
	for _, w := range waiters {
		found, err := await[R](ctx, w)
		switch {
		case err == nil:
			take(found)
		case ctx.Err() != nil:
			return err
		case errors.Is(err, coordinator.ErrNotCoordinator), errors.Is(err, coordinator.ErrLoading), errors.Is(err, coordinator.ErrClosed): // meanwhile
		default:
			return err
		}
	}
	return nil
}

func (s *shard) overviews() []Overview {
	list := make([]Overview, 0, len(s.groups))
	for id, g := range s.groups {
		list = append(list, Overview{ID: id, Members: g.size(), Offsets: s.committed(id)})
	}
	for id := range s.offsets {
		if s.groups[id] == nil { // offsets without membership
			list = append(list, Overview{ID: id, Offsets: s.committed(id)})
		}
	}
	return list
}

// committed copies a group's offsets: the state is the shard's alone.
func (s *shard) committed(id string) map[metadata.TopicPartition]int64 {
	offsets := map[metadata.TopicPartition]int64{}
	for topic, partitions := range s.offsets[id] {
		for number, o := range partitions {
			offsets[metadata.TopicPartition{Topic: topic, Partition: number}] = o.offset
		}
	}
	return offsets
}
