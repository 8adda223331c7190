package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/client"
)

// readPlan says where reading begins and ends in each partition.
type readPlan struct {
	options []kgo.Opt
	// ends has the exclusive end of each partition that is not read completely; nil: reading has no
	// end.
	ends map[int32]int64
}

// planReading looks up the offsets before anything is read, so that the end does not move while
// reading.
func planReading(ctx context.Context, a *app, o consumeOptions) (*readPlan, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	defer c.Close()
	topics, err := c.Topics(ctx, o.topic)
	if err != nil {
		return nil, err
	}
	if n := len(topics[0].Partitions); int(o.partition) >= n {
		return nil, fmt.Errorf("topic %s has no partition %d: it has %s, counted from 0", o.topic, o.partition, plural(int64(n), "partition"))
	}
	if o.group != "" {
		return &readPlan{options: []kgo.Opt{
			kgo.ConsumerGroup(o.group), kgo.ConsumeTopics(o.topic), kgo.AutoCommitMarks(), kgo.ConsumeResetOffset(o.start.kgo()),
		}}, nil
	}
	starts, err := c.ListOffsets(ctx, o.topic, client.Earliest)
	if err != nil {
		return nil, err
	}
	ends, err := c.ListOffsets(ctx, o.topic, client.Latest)
	if err != nil {
		return nil, err
	}
	var times client.Offsets
	if o.start.kind == atTime {
		if times, err = c.ListOffsets(ctx, o.topic, o.start.at); err != nil {
			return nil, err
		}
	}
	for _, offsets := range []client.Offsets{starts, ends, times} {
		for partition := range offsets {
			if o.partition >= 0 && partition != o.partition {
				delete(offsets, partition)
			}
		}
	}
	return newReadPlan(o, starts, ends, times, func(note string) { _, _ = fmt.Fprintln(a.errOut, "varve: "+note) }), nil
}

// newReadPlan makes the plan from the first offsets and ends of the partitions. An offset outside
// of these is moved to the nearest one inside, with a note.
func newReadPlan(o consumeOptions, starts, ends, times client.Offsets, note func(string)) *readPlan {
	p := &readPlan{}
	if o.until == "end" {
		p.ends = map[int32]int64{}
	}
	from := map[int32]kgo.Offset{}
	for partition, end := range ends {
		at := starts[partition]
		switch o.start.kind {
		case atBeginning:
		case atEnd:
			at = end
		case atTime:
			at = times[partition]
		case atOffset:
			if inside := min(max(o.start.at, at), end); inside != o.start.at {
				note(fmt.Sprintf("partition %d has the offsets %s: reading from %d", partition, offsetRange(at, end), inside))
				at = inside
			} else {
				at = o.start.at
			}
		}
		from[partition] = kgo.NewOffset().At(at)
		if p.ends != nil && at < end {
			p.ends[partition] = end
		}
	}
	p.options = []kgo.Opt{
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{o.topic: from}),
		// If records are deleted before they are read, reading continues with the first remaining
		// one.
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(500 * time.Millisecond),
	}
	if p.ends != nil {
		// the last offset before the end may be one
		p.options = append(p.options, kgo.KeepControlRecords())
	}
	return p
}

// pass notes that a record was reached, and reports whether it is before the end.
func (p *readPlan) pass(r *kgo.Record) bool {
	if p.ends == nil {
		return true
	}
	end, reading := p.ends[r.Partition]
	if !reading {
		return false
	}
	if r.Offset+1 >= end {
		delete(p.ends, r.Partition)
	}
	return r.Offset < end
}

func (p *readPlan) finished() bool { return p.ends != nil && len(p.ends) == 0 }

// kgo returns the position as an offset for the consumer of a group.
func (p position) kgo() kgo.Offset {
	switch p.kind {
	case atBeginning:
		return kgo.NewOffset().AtStart()
	case atOffset:
		return kgo.NewOffset().At(p.at)
	case atTime:
		return kgo.NewOffset().AfterMilli(p.at)
	default:
		return kgo.NewOffset().AtEnd()
	}
}
