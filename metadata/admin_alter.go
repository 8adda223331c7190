package metadata

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/metadata/kv"
)

// alteration makes the next state of partition i of a call from its present
// one, and may name what else the write depends upon. It may run again when
// somebody else was faster.
type alteration func(image *Image, i int, p *Partition) (next Partition, guards []kv.Comparison, err error)

// alterPartitions changes the state of partitions, each by itself, and returns
// one error per partition in their order. It returns when this broker's image
// shows the changes. A next state that is no other is not written.
func (a *Admin) alterPartitions(ctx context.Context, tps []TopicPartition, alter alteration) []error {
	errs := make([]error, len(tps))
	open := make([]int, 0, len(tps))
	seen := make(map[TopicPartition]bool, len(tps))
	for i, tp := range tps {
		if seen[tp] {
			errs[i] = fmt.Errorf("%w: the partition is named twice", ErrInvalidRequest)
			continue
		}
		seen[tp] = true
		open = append(open, i)
	}
	image := a.loader.Image()
	wait := backoff.Backoff{Min: time.Millisecond, Max: 50 * time.Millisecond}
	for range casAttempts {
		var newest int64
		var conflict func(*Image) bool
		newest, open, conflict = a.alterOnce(ctx, image, tps, open, alter, errs)
		var err error
		if image, err = a.loader.Wait(ctx, func(m *Image) bool { return m.Revision >= newest && conflict(m) }); err != nil {
			for i := range errs {
				if errs[i] == nil || errors.Is(errs[i], kv.ErrConflict) {
					errs[i] = err
				}
			}
			return errs
		}
		if len(open) == 0 {
			return errs
		}
		if !wait.Sleep(ctx) {
			break // what is open has its error
		}
	}
	for _, i := range open {
		errs[i] = fmt.Errorf("%w: %w", kv.ErrUnavailable, errs[i]) // others are making progress, this call is not
	}
	return errs
}

// alterOnce writes what can be written, and returns what conflicted and which
// images show why.
func (a *Admin) alterOnce(ctx context.Context, image *Image, tps []TopicPartition, open []int, alter alteration, errs []error) (newest int64, again []int, moved func(*Image) bool) {
	var writes []Change
	var at []int
	for _, i := range open {
		t, p, err := image.find(tps[i])
		if err != nil {
			errs[i] = err
			continue
		}
		next, guards, err := alter(image, i, p)
		if errs[i] = err; err != nil || next.same(p) {
			continue
		}
		next.PartitionEpoch++
		write := t.write(tps[i].Partition, p, &next, "")
		write.Guards = append(write.Guards, guards...)
		writes, at = append(writes, write), append(at, i)
	}
	newest, written := WriteAll(ctx, a.store, nil, writes)
	for w, err := range written {
		errs[at[w]] = err
		if errors.Is(err, kv.ErrConflict) {
			again = append(again, at[w])
		}
	}
	return newest, again, func(m *Image) bool { return len(again) == 0 || m.Revision > image.Revision }
}

// find finds a partition that has a state.
func (m *Image) find(tp TopicPartition) (*Topic, *Partition, error) {
	t, ok := m.TopicByName(tp.Topic)
	if !ok {
		return nil, nil, ErrUnknownTopic
	}
	p, ok := t.Partition(tp.Partition)
	if !ok || p.Revision == 0 {
		return nil, nil, ErrUnknownTopic
	}
	return t, p, nil
}
