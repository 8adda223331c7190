package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/varvelog/varve/metadata"
)

// healTime is how long a cluster may take after all faults have ended until everything is in order:
// leases end, followers catch up and reassignments complete.
const healTime = 90 * time.Second

// heal ends all faults, and checks that the cluster comes to rest.
func (w *world) heal() {
	if w.err != nil {
		return
	}
	w.trace("healed")
	w.net.heal()
	if w.etcd.mistaken {
		w.etcd.swap(w.etcd.truth, false)
	}
	if w.etcd.down {
		w.etcd.serve(true)
	}
	w.bucket.away, w.bucket.flaky = false, flaky{}
	for _, h := range w.hosts {
		h.thaw()
		h.busy, h.skew = 0, 0
		if len(h.failing) > 0 {
			h.stop(Killed) // the next process finds a working disk
		}
		h.start()
	}
	until := w.sched.now + healTime
	for produced := false; w.err == nil; {
		w.sched.run(w.sched.now + time.Second)
		for _, h := range w.hosts {
			h.start() // after a controlled shutdown
		}
		w.repair()
		why := w.unrest()
		switch {
		case why == "" && produced:
			w.readAll()
			return
		case why == "":
			produced = true
			w.produceEverywhere()
		case w.sched.now >= until:
			w.fail("%v after everything was healed %s", healTime, why)
		}
	}
}

// produceEverywhere appends to every partition that has a running leader.
func (w *world) produceEverywhere() {
	for _, p := range w.check.alive() {
		if node := w.process(p.state.Leader); node != nil {
			w.client.produce([]metadata.TopicPartition{p.name})
		}
	}
}

// repair acts as an operator: it rebuilds lost tier pointers, and runs unclean elections for
// partitions without a leader if the bucket may have their other records.
func (w *world) repair() {
	if !w.o.Bucket {
		return
	}
	for _, id := range w.check.order {
		p := w.check.partitions[id]
		if p.state == nil {
			continue
		}
		if w.lacksPointer(p) {
			w.rebuild(p.name)
		}
		if _, led := w.truth.Leader(p.state); !led {
			w.play(Action{Verb: "unclean", Args: []string{p.name.Topic, strconv.Itoa(int(p.name.Partition))}})
		}
	}
}

// readPause is how long a reader waits after an error. A leader may change even after all faults
// have ended, and compares its log with the remote tier before it serves.
const readPause = 100 * time.Millisecond

// readAll reads everything from the log start to the high watermark of each partition from its
// leader, from whichever tier has it.
func (w *world) readAll() {
	all := w.check.alive()
	rest := make([]error, len(all)) // why a partition has not been read to the end, nil if it has
	for i, p := range all {
		rest[i] = errNotRead
		w.readOn(p, 0, func(err error) { rest[i] = err })
	}
	unread := func(err error) bool { return err != nil }
	for until := w.sched.now + healTime; slices.ContainsFunc(rest, unread) && w.err == nil; w.sched.run(w.sched.now + time.Second) {
		if w.sched.now >= until {
			w.fail("not all can be read: %w", errors.Join(rest...))
		}
	}
}

// errNotRead is the error of a partition whose leader has not answered yet.
var errNotRead = errors.New("no answer")

// readOn reads a partition from an offset on, or from its log start if that is above. It reports
// each error, tries again then, and reports nil at the high watermark.
func (w *world) readOn(p *partition, at int64, report func(error)) {
	again := func(at int64, err error) {
		report(err)
		w.sched.after(readPause, nil, func() { w.readOn(p, at, report) })
	}
	if _, led := w.truth.Leader(p.state); !led {
		again(at, fmt.Errorf("%s has no leader", p.name))
		return
	}
	node, r := w.process(p.state.Leader), p.logs[p.state.Leader]
	if node == nil || r == nil {
		again(at, fmt.Errorf("the leader of %s does not run", p.name))
		return
	}
	w.sched.spawn(node.ctx, node, func(ctx context.Context) {
		for at = max(at, r.Start); at < r.HighWatermark; {
			n, err := w.client.readAt(ctx, node, p.id, p.name, at)
			if err != nil || n == 0 {
				again(at, fmt.Errorf("%s has %d records at offset %d of %s, which begins at %d and is committed to %d: %w",
					node.name, n, at, p.name, r.Start, r.HighWatermark, err))
				return
			}
			at += int64(n)
		}
		report(nil)
	})
}

// alive returns the partitions that exist and can have a leader: at least one disk still has the
// committed records, and the mark that proves it.
func (c *checker) alive() []*partition {
	var all []*partition
	for _, id := range c.order {
		p := c.partitions[id]
		if p.state == nil {
			continue
		}
		kept := func(m metadata.Member) bool { return c.intact(m) && m.Epoch > c.w.hosts[m.Broker-1].unmarked }
		if c.w.truth.Electable(p.state) || slices.ContainsFunc(members(p.state), kept) {
			all = append(all, p)
		}
	}
	return all
}

// unrest returns what is not in order yet, "" if all is.
func (w *world) unrest() string {
	for _, h := range w.hosts {
		if h.process != nil && h.process.leaving {
			return h.process.name + " has not left yet"
		}
	}
	for _, p := range w.check.alive() {
		s := p.state
		if _, led := w.truth.Leader(s); !led {
			return fmt.Sprintf("nobody leads %s: in sync %v, eligible %v",
				p.name, names(s.Members()), names(s.EligibleMembers()))
		}
		if len(s.ISR) != len(s.Replicas) || len(s.Adding)+len(s.Removing)+len(s.ELR) > 0 {
			return fmt.Sprintf("%s has replicas %v, in sync %v, eligible %v, adding %v, removing %v",
				p.name, s.Replicas, s.ISR, s.ELR, s.Adding, s.Removing)
		}
		r := p.logs[s.Leader]
		if r == nil || !r.Leads || r.LeaderEpoch != s.LeaderEpoch {
			return fmt.Sprintf("broker %d does not lead %s at epoch %d", s.Leader, p.name, s.LeaderEpoch)
		}
		if r.HighWatermark != r.End {
			return fmt.Sprintf("%s is committed to %d of %d", p.name, r.HighWatermark, r.End)
		}
		if w.o.Bucket && p.tier.end < r.Closed {
			return fmt.Sprintf("the tier of %s ends at %d of %d", p.name, p.tier.end, r.Closed)
		}
	}
	if len(w.client.open) > 0 {
		r := w.client.open[0]
		return fmt.Sprintf("%q at offset %d of %s, of %v, has no verdict",
			r.value, r.outcome.Offset(), w.check.partitions[r.id].name, r.made)
	}
	return ""
}
