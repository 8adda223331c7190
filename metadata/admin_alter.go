package metadata

import (
	"context"
	"errors"
	"slices"

	"github.com/varvelog/varve/metadata/kv"
)

// alteration computes the next state of partition i of a call from its present one. It may return
// guards: more comparisons for the write. It runs again after a conflict, on a newer image.
type alteration func(image *Image, i int, p *Partition) (next Partition, guards []kv.Comparison, err error)

// alterations is one call of alterPartitions.
type alterations struct {
	admin *Admin
	tps   []TopicPartition
	alter alteration
	image *Image  // the image that the next round computes states on
	open  []int   // indexes in tps: neither refused nor shown by an image yet
	errs  []error // by index in tps
}

// alterPartitions changes the state of partitions, each by itself, and returns one error per
// partition in their order. It returns when this broker's image shows the changes. A next state
// that equals the present one is not written.
func (a *Admin) alterPartitions(ctx context.Context, tps []TopicPartition, alter alteration) []error {
	w := &alterations{admin: a, tps: tps, alter: alter, image: a.loader.Image(), errs: make([]error, len(tps))}
	seen := make(map[TopicPartition]bool, len(tps))
	for i, tp := range tps {
		if seen[tp] {
			w.errs[i] = refuse(ErrInvalidRequest, "the partition is named twice")
			continue
		}
		seen[tp] = true
		w.open = append(w.open, i)
	}
	if err := swap(ctx, "write partitions", w.round); err != nil {
		for _, i := range w.open {
			w.errs[i] = err
		}
	}
	return w.errs
}

// round writes the open partitions and waits for the image that shows the result. Partitions that
// conflict stay open. The round then returns ErrConflict, and the image shows why.
func (w *alterations) round(ctx context.Context) error {
	newest, conflicts := w.write(ctx)
	if conflicts {
		newest = max(newest, w.image.Revision+1) // the change that caused the conflict is newer
	}
	var err error
	if w.image, err = w.admin.loader.WaitRevision(ctx, newest); err != nil {
		return err
	}
	w.open = slices.DeleteFunc(w.open, func(i int) bool { return w.errs[i] == nil })
	if conflicts {
		return kv.ErrConflict
	}
	return nil
}

// write writes the open partitions and returns the newest revision that it wrote. Afterwards those
// are no longer open that were refused or failed for another reason than a conflict.
func (w *alterations) write(ctx context.Context) (newest int64, conflicts bool) {
	var writes []Change
	var at []int // the index in tps of each write
	for _, i := range w.open {
		t, p, err := w.image.find(w.tps[i])
		if err != nil {
			w.errs[i] = err
			continue
		}
		next, guards, err := w.alter(w.image, i, p)
		if w.errs[i] = err; err != nil || next.same(p) {
			continue
		}
		next.PartitionEpoch++
		write := t.write(w.tps[i].Partition, p, &next, "")
		write.Guards = append(write.Guards, guards...)
		writes, at = append(writes, write), append(at, i)
	}
	w.open = w.open[:0]
	newest, errs := WriteAll(ctx, w.admin.store, nil, writes)
	for n, err := range errs {
		w.errs[at[n]] = err
		conflict := errors.Is(err, kv.ErrConflict)
		conflicts = conflicts || conflict
		if err == nil || conflict {
			w.open = append(w.open, at[n])
		}
	}
	return newest, conflicts
}

// find returns a partition whose key exists.
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
