package simulation

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/tiering/format"
)

// tier is the remote tier of a partition: what the newest pointer of the truth leads to.
type tier struct {
	lost       bool // the pointer is gone, but what it led to is not
	pointed    bool // the truth has had a pointer
	start, end int64
	keys       map[string]bool     // of all objects that the manifest names, and of the manifest
	looked     map[string][]string // the records of each object, once read
}

// tiers checks the pointers among the changes of the truth.
func (c *checker) tiers(events []kv.Event) {
	for i := range events {
		e := &events[i]
		for _, id := range c.order {
			if e.Key == metadata.TierKey(id.topic, id.number) {
				c.pointed(id, e)
			}
		}
	}
}

// lacksPointer reports whether the bucket has objects of a partition to which the truth has no
// pointer: the pointer was lost, or only a mistaken etcd had it.
func (w *world) lacksPointer(p *partition) bool {
	return p.tier.lost || !p.tier.pointed && len(w.bucket.list(format.PartitionPrefix("", p.id.topic, p.id.number))) > 0
}

// pointed checks a pointer: everything it leads to exists and equals what is committed.
func (c *checker) pointed(id partitionID, e *kv.Event) {
	p := c.partitions[id]
	if e.Deleted {
		p.tier.lost = true
		return
	}
	v := &view{c: c, p: p, prefix: format.PartitionPrefix("", id.topic, id.number), keys: map[string]bool{}}
	if err := v.read(e.Value); err != nil {
		c.w.fail("the tier of %s: %w", p.name, err)
		return
	}
	if p.tier.start != v.start || p.tier.end != v.end || p.tier.lost {
		c.w.trace("tier of %s: %d to %d, of leader epoch %d", p.name, v.start, v.end, v.epoch)
	}
	p.tier.lost, p.tier.pointed = false, true
	p.tier.start, p.tier.end, p.tier.keys = v.start, v.end, v.keys
	c.w.counts["tier pointers"]++
}

// view is one check of a tier.
type view struct {
	c          *checker
	p          *partition
	prefix     string
	epoch      int32 // of the leader that wrote the manifest
	start, end int64
	keys       map[string]bool
}

// object returns a document that the tier names.
func (v *view) object(name string) ([]byte, error) {
	v.keys[v.prefix+name] = true
	return v.c.w.bucket.content(v.prefix + name)
}

func (v *view) read(pointer []byte) error {
	ptr, err := format.ParsePointer(pointer)
	if err != nil || ptr.Manifest == "" {
		return err
	}
	b, err := v.object(ptr.Manifest)
	if err != nil {
		return err
	}
	if sum := format.Checksum(b); sum != ptr.CRC32C || int64(len(b)) != ptr.Size {
		return fmt.Errorf("%s has %d bytes and checksum %08x, the pointer says %d and %08x", ptr.Manifest, len(b), sum, ptr.Size, ptr.CRC32C)
	}
	m, err := format.ParseManifest(b)
	if err != nil {
		return err
	}
	v.epoch, v.start, v.end = m.LeaderEpoch, m.StartOffset, m.EndOffset
	if ptr.EndOffset != m.EndOffset {
		return fmt.Errorf("%s ends at %d, the pointer says %d", ptr.Manifest, m.EndOffset, ptr.EndOffset)
	}
	next := m.StartOffset
	return m.Tree(func(_ context.Context, ref *format.PageRef) (*format.Page, error) {
		page, pageErr := v.object(ref.Name)
		if pageErr != nil {
			return nil, pageErr
		}
		return format.ParsePage(page, ref)
	}).Walk(context.Background(), format.Visitor{Segment: func(s *format.Segment) error {
		if s.EndOffset <= m.StartOffset {
			return nil // expired, together with others of its page
		}
		if next = max(next, s.StartOffset); s.StartOffset > next {
			return fmt.Errorf("%s begins at %d, after %d", s.Name, s.StartOffset, next)
		}
		next = s.EndOffset
		return v.segment(s)
	}})
}

// segment compares the records of a segment with what is committed.
func (v *view) segment(s *format.Segment) error {
	v.keys[v.prefix+s.Name] = true
	records, known := v.p.tier.looked[v.prefix+s.Name]
	if !known {
		var err error
		if records, err = v.recordsOf(s); err != nil {
			return err
		}
		if v.p.tier.looked == nil {
			v.p.tier.looked = map[string][]string{}
		}
		v.p.tier.looked[v.prefix+s.Name] = records
	} else if _, err := v.c.w.bucket.stat(v.prefix + s.Name); err != nil {
		return err
	}
	n := s.EndOffset - s.StartOffset
	if int64(len(records)) < n {
		return fmt.Errorf("%s has %d records from %d to %d", s.Name, len(records), s.StartOffset, s.EndOffset)
	}
	for i, value := range records[:n] { // the records after them were cut off
		offset := s.StartOffset + int64(i)
		if want, known := v.p.was(offset); known && want == value || v.epoch < v.p.parted.epoch && offset >= v.p.parted.at {
			continue
		}
		want, _ := v.p.was(offset)
		return fmt.Errorf("%s has %q at offset %d, where %q is committed; the manifest is of leader epoch %d", s.Name, value, offset, want, v.epoch)
	}
	return nil
}

// recordsOf reads the records of a segment's object, from the segment's start offset on.
func (v *view) recordsOf(s *format.Segment) ([]string, error) {
	b, err := v.c.w.bucket.content(v.prefix + s.Name)
	if err != nil {
		return nil, err
	}
	if s.At+s.ObjectBytes > int64(len(b)) {
		return nil, fmt.Errorf("%s has %d bytes", s.Name, len(b))
	}
	b = b[s.At : s.At+s.ObjectBytes]
	x, err := format.ParseIndex(b[s.ObjectBytes-s.HotBytes:], s.ObjectBytes)
	if err != nil {
		return nil, err
	}
	var all []string
	for i := range x.Chunks {
		c := &x.Chunks[i]
		chunk := b[c.Position:c.End()]
		if format.Checksum(chunk) != c.CRC32C {
			return nil, fmt.Errorf("chunk %d of %s is damaged", i, s.Name)
		}
		for len(chunk) > 0 {
			batch, rest, err := record.Split(chunk)
			if err != nil {
				return nil, err
			}
			for r, err := range batch.Records() {
				if err != nil {
					return nil, err
				}
				if r.Offset >= s.StartOffset {
					all = append(all, string(bytes.Clone(r.Value)))
				}
			}
			chunk = rest
		}
	}
	return all, nil
}

// removed is called before an object is deleted. It checks that no committed manifest names the
// object.
func (c *checker) removed(by, key string) {
	for _, id := range c.order {
		if p := c.partitions[id]; p.state != nil && p.tier.keys[key] {
			c.w.fail("%s deletes %s, which the tier of %s names", by, named(key), p.name)
		}
	}
}

// was returns what was committed at an offset, even if all disks have lost it.
func (p *partition) was(offset int64) (string, bool) {
	if n := int64(len(p.committed)); offset >= n {
		if offset-n >= int64(len(p.lost)) {
			return "", false
		}
		return p.lost[offset-n], true
	}
	return p.committed[offset], true
}

// parted is the point from which the tier may have another history than the logs, because all disks
// have lost the tier's. The leader of the epoch must truncate the tier there.
type parted struct {
	at    int64
	epoch int32
}

// loses moves the end of the committed records back to an offset: no disk has more.
func (p *partition) loses(left int64) {
	tail := slices.Clone(p.committed[left:])
	if p.gone == nil {
		p.gone = map[string]bool{}
	}
	for _, value := range tail {
		p.gone[value] = true
	}
	p.lost = append(tail, p.lost...)
	p.committed = slices.Clip(p.committed[:left])
}

// owes sets what the tier must give back to a new leader's log: everything it has, unless the log
// continues with other records.
func (p *partition) owes(r *replica) {
	p.owed = 0
	end := int64(len(p.committed))
	if r != nil {
		for ; end < r.End; end++ {
			if want, known := p.was(end); end >= r.LocalStart && (!known || want != r.at(end)) {
				return
			}
		}
	}
	if p.tier.end > int64(len(p.committed)) {
		p.owed = p.tier.end
	}
}

// goesOn adds the next record to the committed ones. It returns an error if the tier has another
// record there that it must give back.
func (p *partition) goesOn(value string) error {
	at := int64(len(p.committed))
	if at < p.owed {
		return fmt.Errorf("%q is committed at offset %d of %s, where the tier has %q", value, at, p.name, p.lost[0])
	}
	p.parts(p.forgot)
	p.committed = append(p.committed, value)
	return nil
}

// takesBack moves lost records that a leader's log or the tier has back to the committed ones.
// Below the log's local start only the tier has them.
func (p *partition) takesBack(r *replica) (n int) {
	for at := int64(len(p.committed)); at < r.HighWatermark && len(p.lost) > 0; at++ {
		if at >= r.LocalStart && r.at(at) != p.lost[0] {
			break
		}
		p.committed, p.lost = append(p.committed, p.lost[0]), p.lost[1:]
		n++
	}
	return n
}

// parts records that the history continues with other records than the lost ones.
func (p *partition) parts(epoch int32) {
	if len(p.lost) > 0 {
		p.parted = parted{at: int64(len(p.committed)), epoch: epoch}
		p.owed = 0
		p.lost = nil
	}
}
