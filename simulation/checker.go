package simulation

import (
	"github.com/varvelog/varve/metadata"
)

// checker knows what was committed and acknowledged, and compares every replica and every change of
// the truth with it.
type checker struct {
	w          *world
	partitions map[partitionID]*partition
	order      []partitionID // in the order of their first appearance
}

// partitionID identifies a partition of one topic, even if other topics had the same name.
type partitionID struct {
	topic  metadata.TopicID
	number int32
}

// partition is what the checker knows about a partition.
type partition struct {
	id        partitionID
	name      metadata.TopicPartition
	state     *metadata.Partition // in the truth; nil: deleted
	minISR    int                 // the lowest min.insync.replicas that the topic has had
	committed []string            // by offset
	logs      map[int32]*replica  // by broker
	acked     []acknowledged
	forgot    int32 // the leader epoch since which lost records do not count
	deleted   int64 // the end of the records whose deletion was acknowledged

	tier tier
	gone map[string]bool // values that were committed once and lost with all disks
	// lost holds the records after committed that all disks have lost and the tier may give back.
	lost   []string
	owed   int64 // up to this offset the tier must give them back
	parted parted
}

type acknowledged struct {
	offset int64
	value  string
}

// replica is a log as it was at the last look.
type replica struct {
	View
	entries []string // from LocalStart on
	matched int64    // the log equals the committed records below this offset
	// forgets means that committed records were lost by the failure of all disks that had them, and
	// this log may not know yet.
	forgets bool
	// hides is the local start of the log when it stopped forgetting. What it had below belongs to
	// the lost history, and a power cut that moves its start back shows it again.
	hides int64
}

func newChecker(w *world) *checker {
	return &checker{w: w, partitions: map[partitionID]*partition{}}
}

// of returns a partition, and creates it at its first appearance.
func (c *checker) of(id partitionID, name metadata.TopicPartition) *partition {
	p := c.partitions[id]
	if p == nil {
		p = &partition{id: id, name: name, logs: map[int32]*replica{}}
		c.partitions[id] = p
		c.order = append(c.order, id)
	}
	return p
}

// recovered looks at the logs of a process that has just started. Logs that it does not have are
// gone.
func (c *checker) recovered(p *process) {
	had := map[partitionID]bool{}
	for _, v := range p.node.Views() {
		id := partitionID{v.Topic, v.Partition.Partition}
		had[id] = true
		if r := c.of(id, v.Partition).logs[p.host.id]; r != nil && v.LocalStart < r.hides {
			r.forgets = true
		}
	}
	for _, id := range c.order {
		if r := c.partitions[id].logs[p.host.id]; r != nil && !had[id] {
			*r = replica{View: View{Changes: -1}, forgets: r.forgets}
		}
	}
	c.replicas(p)
}

// replicas looks at the logs of a process that have changed.
func (c *checker) replicas(p *process) {
	if p.dead {
		return
	}
	for _, v := range p.node.Views() {
		part := c.of(partitionID{v.Topic, v.Partition.Partition}, v.Partition)
		r := part.logs[p.host.id]
		if r == nil {
			r = &replica{View: View{Changes: -1}}
			part.logs[p.host.id] = r
		}
		if r.same(&v) {
			r.Closed = v.Closed
			continue
		}
		if err := r.look(v); err != nil {
			c.w.fail("%s cannot read %s: %v", p.name, v.Partition, err)
			return
		}
		c.w.trace("%s has %s: leads %v epoch %d, %d to %d, here from %d on, high watermark %d", p.name, v.Partition,
			v.Leads, v.LeaderEpoch, v.Start, v.End, v.LocalStart, v.HighWatermark)
		c.commits(p.name, part, r)
		c.electable(part)
	}
}

func (r *replica) same(v *View) bool {
	return r.Changes == v.Changes && r.Start == v.Start && r.LocalStart == v.LocalStart && r.End == v.End &&
		r.HighWatermark == v.HighWatermark && r.Leads == v.Leads && r.LeaderEpoch == v.LeaderEpoch
}

// look reads the new records.
func (r *replica) look(v View) error {
	from := r.End
	if r.Changes != v.Changes || r.LocalStart != v.LocalStart || v.End < r.End {
		from, r.entries, r.matched = v.LocalStart, nil, 0
	}
	r.View = v
	entries, err := v.Entries(from)
	for _, e := range entries {
		r.entries = append(r.entries, e.Value)
	}
	r.matched = min(r.matched, v.End)
	return err
}

// at returns the record at an offset.
func (r *replica) at(offset int64) string { return r.entries[offset-r.LocalStart] }

// match advances matched as far as possible.
func (r *replica) match(committed []string) {
	for end := min(r.End, int64(len(committed))); r.matched < end; r.matched++ {
		if r.matched >= r.LocalStart && r.at(r.matched) != committed[r.matched] {
			return
		}
	}
}

// commits compares a log with the committed records, and adds the records below its high watermark
// to them.
func (c *checker) commits(name string, p *partition, r *replica) {
	if int64(len(r.entries)) != r.End-r.LocalStart {
		c.w.fail("%s has %d records of %s from %d to %d",
			name, len(r.entries), p.name, r.LocalStart, r.End)
		return
	}
	if r.HighWatermark > r.End {
		c.w.fail("%s has high watermark %d of %s, whose log ends at %d",
			name, r.HighWatermark, p.name, r.End)
		return
	}
	counts := r.Leads && r.LeaderEpoch >= p.forgot
	if counts {
		c.w.counts["given back"] += p.takesBack(r)
	}
	r.match(p.committed)
	if r.forgets && !counts && (r.LeaderEpoch < p.forgot || r.matched < r.HighWatermark) {
		return
	}
	if r.forgets {
		r.forgets, r.hides = false, r.LocalStart
	}
	if known := min(r.HighWatermark, int64(len(p.committed))); r.matched < known {
		c.w.fail("%s has %q at offset %d of %s, below its high watermark %d; %q is committed there",
			name, r.at(r.matched), r.matched, p.name, r.HighWatermark, p.committed[r.matched])
		return
	}
	for r.HighWatermark > int64(len(p.committed)) {
		if int64(len(p.committed)) < r.LocalStart {
			c.w.fail("%s begins %s at %d, and %d records are committed",
				name, p.name, r.LocalStart, len(p.committed))
			return
		}
		if err := p.goesOn(r.at(int64(len(p.committed)))); err != nil {
			c.w.fail("%s: %w", name, err)
			return
		}
		r.matched++
		c.w.counts["committed"]++
	}
	if r.LocalStart > r.Start && p.state != nil && !p.tier.lost && p.tier.end < r.LocalStart && r.LeaderEpoch >= p.forgot {
		c.w.fail("%s has %s from %d to %d, and the tier ends at %d", name, p.name, r.LocalStart, r.End, p.tier.end)
		return
	}
	if r.Leads && p.state != nil && r.LeaderEpoch == p.state.LeaderEpoch && r.Start < p.deleted {
		c.w.fail("%s leads %s from %d, and the records below %d are deleted",
			name, p.name, r.Start, p.deleted)
	}
}

// acknowledge compares an acknowledgement with the committed records.
func (c *checker) acknowledge(id partitionID, offset int64, value string) {
	p := c.partitions[id]
	if offset >= int64(len(p.committed)) || p.committed[offset] != value {
		c.w.fail("%q is acknowledged at offset %d of %s, where %d records are committed",
			value, offset, p.name, len(p.committed))
		return
	}
	c.w.counts["acknowledged"]++
	p.acked = append(p.acked, acknowledged{offset, value})
}

// read compares what a consumer got with the committed records.
func (c *checker) read(name string, id partitionID, broker int32, entries []Entry) {
	p := c.partitions[id]
	if r := p.logs[broker]; r == nil || r.forgets {
		return
	}
	for _, e := range entries {
		if e.Offset >= int64(len(p.committed)) || p.committed[e.Offset] != e.Value {
			c.w.fail("%s gave %q at offset %d of %s to a consumer, where %d records are committed",
				name, e.Value, e.Offset, p.name, len(p.committed))
			return
		}
	}
}
