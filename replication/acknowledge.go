package replication

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/replication/role"
)

// Wait returns when the append is as safe as its acks and the topic's varve.ack.fsync or
// flush.messages require, or when it never will be. When ctx ends Wait returns the cause; the
// append stays in the log, and may still be committed.
func (a Appended) Wait(ctx context.Context) (err error) {
	Acknowledge(ctx, []Appended{a}, func(_ int, verdict error) { err = verdict })
	return err
}

// Acknowledge waits for several appends at the same time, as Wait does for one. It calls settled
// exactly once per append, with the append's index, as soon as the outcome is known: a stuck append
// delays no other. Acknowledge returns after the last call; settled runs on the caller's goroutine.
func Acknowledge(ctx context.Context, appends []Appended, settled func(i int, err error)) {
	await(ctx, appends, settled)
}

// awaited is something that becomes done through events of one partition.
type awaited interface {
	at() *Partition
	// Done reports whether the outcome is known, and the outcome. It may change only if the
	// partition's watchers are woken after the change.
	Done() (done bool, err error)
	// pending describes the state, for the error of a caller that stops waiting.
	pending() string
}

// await calls settled exactly once per element of list, as soon as the element is done or ctx ends.
// Every watch is registered before the first look, so no wake-up is lost.
func await[T awaited](ctx context.Context, list []T, settled func(i int, err error)) {
	left := make([]bool, len(list))
	w := newWaiter()
	watches := make([]watch, len(list))
	n := len(list)
	look := func(i int) {
		if !left[i] {
			return
		}
		if done, err := list[i].Done(); done {
			left[i] = false
			n--
			list[i].at().watchers.remove(&watches[i])
			settled(i, err)
		}
	}
	for i := range list {
		left[i] = true
		watches[i] = watch{waiter: w, index: i}
		list[i].at().watchers.add(&watches[i])
	}
	for i := range list {
		look(i)
	}
	for n > 0 {
		select {
		case <-w.c:
			for _, i := range w.take(watches) {
				look(i)
			}
		case <-ctx.Done():
			for i := range list {
				if left[i] {
					list[i].at().watchers.remove(&watches[i])
					settled(i, fmt.Errorf("wait until %s: %w", list[i].pending(), context.Cause(ctx)))
				}
			}
			return
		}
	}
}

func (a Appended) at() *Partition { return a.partition }

func (a Appended) pending() string {
	return fmt.Sprintf("offset %d of %s is committed", a.LastOffset, a.partition.tp)
}

// Done reports whether Wait would return at once, and what it would return.
//
// An append is acknowledged only while its broker leads at the leader epoch of the append. After
// that epoch another leader may have truncated and refilled the log, and its high watermark says
// nothing about this append. Done reads the role after the offsets. The role is replaced before
// anything truncates the log; so if the role still has the append's epoch, the offsets read before
// belong to that epoch.
func (a Appended) Done() (done bool, err error) {
	p := a.partition
	end := a.LastOffset + 1
	durable := p.config.Load().durable()
	safe := (!durable || p.log.FlushedOffset() >= end) && (a.acks != AcksAll || p.log.HighWatermark() >= end)
	if safe && !durable && a.acks != AcksAll {
		return true, nil // it only had to be in the leader's log, and it was
	}
	r := p.role.Load()
	switch {
	case r.IsGone():
		return true, fmt.Errorf("%s: %w", p.tp, ErrUnknownTopicOrPartition)
	case !r.LeadsAt(a.epoch):
		return true, fmt.Errorf("%s: appended at leader epoch %d, which has ended: %w", p.tp, a.epoch, ErrNotLeader)
	case safe:
		return true, a.enough(r)
	}
	if err = p.log.Offline(); err != nil {
		return true, fmt.Errorf("%s: %w", p.tp, err)
	}
	if failure := p.flushFailure.Load(); failure != nil && failure.upTo >= end {
		return true, failure.err
	}
	return false, nil
}

// enough returns an error if a record that is committed now is on fewer replicas than acks=all
// promises: the ISR may have shrunk since the append. The record stays in the log.
func (a Appended) enough(r *role.State) error {
	if config := a.partition.config.Load(); a.acks == AcksAll && !enoughInSync(r, config) {
		return fmt.Errorf("%s: %w", a.partition.tp, tooFewInSync(r, config, ErrNotEnoughReplicasAfterAppend))
	}
	return nil
}
