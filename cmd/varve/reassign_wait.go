package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/varvelog/varve/client"
)

// How often a wait checks whether reassignments are complete, and asks every broker for the sizes
// of new replicas.
const (
	reassignPoll = 300 * time.Millisecond
	bytesPoll    = 3 * time.Second
)

// execute begins moves, at most batch at a time, and waits for each batch unless noWait. It returns
// a result for every move that has begun.
func (a *app) execute(ctx context.Context, c *client.Client, moves []reassignMove, batch int, noWait bool) ([]client.PartitionResult, error) {
	w := &reassignWait{app: a, client: c, total: len(moves)}
	if isTerminal(a.errOut) {
		w.progress = a.errOut
	}
	var results []client.PartitionResult
	for group := range slices.Chunk(moves, batch) {
		assignments := make([]client.Assignment, len(group))
		for i, m := range group {
			assignments[i] = client.Assignment{TopicPartition: m.TopicPartition, Replicas: m.To}
		}
		begun, err := c.Reassign(ctx, assignments...)
		if err != nil {
			return results, err
		}
		if noWait {
			results = append(results, begun...)
			continue
		}
		ended, err := w.wait(ctx, group, begun)
		results = append(results, ended...)
		if err != nil {
			return results, err
		}
	}
	return results, nil
}

// reassignWait waits for reassignments and shows their progress.
type reassignWait struct {
	*app
	client   *client.Client
	progress io.Writer // nil: silent
	total    int
	done     int // moves of earlier batches

	copied, toCopy int64
	asked          time.Time // when the sizes were last read
	warned         bool
}

// wait returns when all moves that have begun are complete. It fails when ctx ends, but the moves
// continue.
func (w *reassignWait) wait(ctx context.Context, moves []reassignMove, begun []client.PartitionResult) ([]client.PartitionResult, error) {
	ours := map[client.TopicPartition]reassignMove{}
	for _, m := range moves {
		ours[m.TopicPartition] = m
	}
	var results []client.PartitionResult
	for _, r := range begun {
		if r.Err != nil {
			results = append(results, r)
			delete(ours, r.TopicPartition)
		}
	}
	tick := time.NewTicker(reassignPoll)
	defer tick.Stop()
	for {
		underWay, err := w.client.Reassignments(ctx)
		if err != nil {
			return results, interrupted(err)
		}
		underWay = slices.DeleteFunc(underWay, func(r client.Reassignment) bool { _, is := ours[r.TopicPartition]; return !is })
		w.show(ctx, ours, underWay, len(moves)-len(underWay))
		if len(underWay) == 0 {
			break
		}
		if err = w.warn(ctx, underWay); err != nil {
			return results, interrupted(err)
		}
		select {
		case <-ctx.Done():
			return results, interrupted(ctx.Err())
		case <-tick.C:
		}
	}
	w.done += len(moves)
	if w.progress != nil && w.done >= w.total {
		_, _ = fmt.Fprintln(w.progress)
	}
	ended, err := w.outcomes(ctx, ours)
	results = append(results, ended...)
	slices.SortFunc(results, func(a, b client.PartitionResult) int { return a.Compare(b.TopicPartition) })
	return results, err
}

func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: what is under way goes on (\"varve partition reassign --list\" shows it, --cancel takes it back)", err)
	}
	return err
}

// outcomes checks whether the moves ended as planned: they may have been canceled or replaced.
func (w *reassignWait) outcomes(ctx context.Context, ours map[client.TopicPartition]reassignMove) ([]client.PartitionResult, error) {
	var results []client.PartitionResult
	now, err := readPlaced(ctx, w.client)
	if err != nil {
		return nil, err
	}
	for tp, m := range ours {
		r := client.PartitionResult{TopicPartition: tp}
		if p := now.at[tp]; !slices.Equal(p.Replicas, m.To) {
			r.Err = fmt.Errorf("%s: its replicas are %s, not %s: the reassignment was taken back or replaced", tp, orAbsent(int32s(p.Replicas)), int32s(m.To))
		}
		results = append(results, r)
	}
	return results, nil
}

// warn prints once that a reassignment waits for a broker that is down.
func (w *reassignWait) warn(ctx context.Context, underWay []client.Reassignment) error {
	if w.warned {
		return nil
	}
	cluster, err := w.client.Cluster(ctx)
	if err != nil {
		return err
	}
	for _, r := range underWay {
		for _, id := range r.Adding {
			if !slices.ContainsFunc(cluster.Brokers, func(b client.Broker) bool { return b.ID == id && !b.Fenced }) {
				w.warned = true
				_, err = fmt.Fprintf(w.errOut, "waiting for broker %d, which is down\n", id)
				return err
			}
		}
	}
	return nil
}

// show updates the line of progress on a terminal.
func (w *reassignWait) show(ctx context.Context, ours map[client.TopicPartition]reassignMove, underWay []client.Reassignment, ended int) {
	if w.progress == nil {
		return
	}
	if now := time.Now(); now.Sub(w.asked) >= bytesPoll || len(underWay) == 0 {
		w.asked = now
		w.copied, w.toCopy = w.bytes(ctx, ours, underWay)
	}
	copying := ""
	if w.toCopy > 0 {
		copying = fmt.Sprintf(", %s of %s copied", byteSize(w.copied), byteSize(w.toCopy))
	}
	_, _ = fmt.Fprintf(w.progress, "\r%d of %s done%s\x1b[K", w.done+ended, plural(int64(w.total), "partition"), copying)
}

// bytes returns how much of the current batch is on new replicas.
func (w *reassignWait) bytes(ctx context.Context, ours map[client.TopicPartition]reassignMove, underWay []client.Reassignment) (copied, total int64) {
	tps := make([]client.TopicPartition, len(underWay))
	going := map[client.TopicPartition]bool{}
	for i, r := range underWay {
		tps[i], going[r.TopicPartition] = r.TopicPartition, true
	}
	// Missing sizes count as not copied: this is only for the line of progress.
	sizes, _ := w.client.ReplicaBytes(ctx, tps...)
	for tp, m := range ours {
		whole := max(m.Bytes, 0)
		for _, id := range m.added() {
			total += whole
			if going[tp] {
				copied += min(sizes[client.Replica{TopicPartition: tp, Broker: id}], whole)
			} else {
				copied += whole
			}
		}
	}
	return copied, total
}
