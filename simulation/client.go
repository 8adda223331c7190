package simulation

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
)

// client produces with acks=all and deletes records. It asks for the outcomes at any later time,
// like a client whose request names several partitions.
type client struct {
	w      *world
	values int
	open   []*request
}

// request is the part of a request that concerns one partition.
type request struct {
	id      partitionID
	process *process
	value   string // empty: a DeleteRecords
	made    time.Duration
	outcome Pending
}

func newClient(w *world) *client { return &client{w: w} }

// at returns the broker that a client contacts about a partition: usually its leader, nil if it
// does not run.
func (c *client) at(p *metadata.Partition) *process {
	w := c.w
	id := p.Leader
	if w.sched.draw("client", 5) == 0 {
		id = p.Replicas[w.sched.draw("client", int64(len(p.Replicas)))]
	}
	if id < 1 || int(id) > len(w.hosts) {
		return nil
	}
	return w.process(id)
}

// produce sends one record to each of several partitions.
func (c *client) produce(tps []metadata.TopicPartition) {
	for _, tp := range tps {
		c.values++
		value := "v" + strconv.Itoa(c.values)
		c.send(tp, func(p *process, id partitionID) {
			a, err := p.node.Append(id.topic, tp, value)
			c.w.trace("%s appends %s to %s: %v", p.name, value, tp, short(err))
			if err == nil {
				c.later(&request{id: id, process: p, value: value, outcome: a})
			}
		})
	}
}

// delete requests the deletion of a percentage of the committed records.
func (c *client) delete(tp metadata.TopicPartition, part int64) {
	c.send(tp, func(p *process, id partitionID) {
		d, err := p.node.DeleteRecords(id.topic, tp, part)
		c.w.trace("%s deletes of %s: %v", p.name, tp, short(err))
		if err == nil {
			c.later(&request{id: id, process: p, outcome: d})
		}
	})
}

// read consumes from a replica.
func (c *client) read(tp metadata.TopicPartition, part int64) {
	c.send(tp, func(p *process, id partitionID) {
		offset := int64(len(c.w.check.partitions[id].committed)) * part / 100
		c.w.sched.spawn(p.ctx, p, func(ctx context.Context) {
			_, _ = c.readAt(ctx, p, id, tp, offset) // readAt checks the result
		})
	})
}

// readTimeout is how long a consumer waits for records of the remote tier.
const readTimeout = 5 * time.Second

// readAt reads from an offset and returns how many records it got.
func (c *client) readAt(ctx context.Context, p *process, id partitionID, tp metadata.TopicPartition, offset int64) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	entries, err := p.node.Read(ctx, id.topic, tp, offset)
	if p.dead {
		return 0, kv.ErrClosed
	}
	c.w.trace("%s is read from %d of %s: %d records, %v",
		p.name, offset, tp, len(entries), short(err))
	if err == nil {
		c.w.check.replicas(p)
		c.w.check.read(p.name, id, p.host.id, entries)
	}
	return len(entries), err
}

// send runs do at a broker, after the request has arrived there.
func (c *client) send(tp metadata.TopicPartition, do func(p *process, id partitionID)) {
	w := c.w
	t, ok := w.truth.TopicByName(tp.Topic)
	if !ok {
		return
	}
	state, ok := t.Partition(tp.Partition)
	if !ok {
		return
	}
	p := c.at(state)
	if p == nil {
		return
	}
	w.sched.after(w.sched.between("client", 0, 5*time.Millisecond), p, func() {
		do(p, partitionID{t.ID, tp.Partition})
		w.check.replicas(p)
	})
}

// later asks for the outcome some time later: soon, or long after.
func (c *client) later(r *request) {
	r.made = c.w.sched.now
	c.open = append(c.open, r)
	c.again(r)
}

func (c *client) again(r *request) {
	most := []time.Duration{20 * time.Millisecond, 300 * time.Millisecond, 10 * time.Second}[c.w.sched.draw("verdict", 3)]
	c.w.sched.after(c.w.sched.between("verdict", time.Millisecond, most), nil, func() { c.ask(r) })
}

// ask checks the outcome of a request. The outcome of a dead process's request stays unknown.
func (c *client) ask(r *request) {
	switch {
	case r.process.dead:
		c.close(r)
		return
	case r.process.host.frozen:
		c.again(r)
		return
	}
	done, err := r.outcome.Done()
	if !done {
		c.again(r)
		return
	}
	c.close(r)
	c.w.trace("%s: verdict on %q at %d: %v", r.process.name, r.value, r.outcome.Offset(), short(err))
	switch {
	case err != nil:
		c.w.counts["refused"]++
	case r.value != "" && c.w.check.partitions[r.id].gone[r.value]: // lost in the meantime
		c.w.counts["acknowledged and lost"]++
	case r.value != "":
		c.w.check.acknowledge(r.id, r.outcome.Offset(), r.value)
	default:
		p := c.w.check.partitions[r.id]
		p.deleted = max(p.deleted, r.outcome.Offset())
		c.w.counts["deleted"]++
	}
}

func (c *client) close(r *request) {
	c.open = slices.DeleteFunc(c.open, func(o *request) bool { return o == r })
}

// short returns the innermost error, for the trace.
func short(err error) error {
	for err != nil {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
	return nil
}
