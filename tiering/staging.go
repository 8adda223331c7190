package tiering

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/stepped"
	"github.com/varvelog/varve/tiering/format"
	"github.com/varvelog/varve/tiering/ownership"
)

// maxStaged bounds the objects of a partition that are in the bucket without a manifest that names
// them, and so the segments that one manifest commits.
const maxStaged = 16

// stage uploads the objects of segments, as many as streams are free. An object that is already
// there, because its commit or an upload before it failed, is not uploaded again. The error is that
// of the first segment that failed; later segments may be staged nevertheless.
func (p *partition) stage(ctx context.Context, m *format.Manifest, segments []closedSegment) error {
	var keep []string
	var missing []closedSegment
	for _, s := range segments {
		if staged := p.stagedAs(m, s); staged != nil {
			keep = append(keep, staged.Name)
		} else {
			missing = append(missing, s)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	n, err := p.m.streams.take(ctx, len(missing))
	if err != nil {
		return err
	}
	u := newUploads(ctx, p, m, missing[:n])
	u.waiting = len(segments)
	began := false
	defer func() {
		if !began {
			p.m.streams.give(n)
		}
	}()
	due := ownership.UploadDue{Objects: ownership.ObjectsOf(u.names...), Keep: ownership.ObjectsOf(keep...)}
	err = p.do(ctx, due, func(ctx context.Context, r ownership.Request) (ownership.Event, error) {
		began = true // from here on each upload gives back its stream
		stepped.InParallel(ctx, n, n, u.upload)
		return ownership.Uploaded{Upload: r.(ownership.Upload), Objects: u.done()}, nil
	})
	p.keepStaged(u.entries)
	if err != nil {
		return err
	}
	return u.failed()
}

// keepStaged keeps the entries of what the state machine has as staged, and no others.
func (p *partition) keepStaged(more []*format.Segment) {
	owned, _ := p.own.Phase().(ownership.Owned)
	old := p.chores.staged
	p.chores.staged = nil
	for i := range old {
		if owned.Staged().Has(old[i].Name) {
			p.chores.staged = append(p.chores.staged, old[i])
		}
	}
	for _, s := range more {
		if s != nil && owned.Staged().Has(s.Name) {
			p.chores.staged = append(p.chores.staged, *s)
		}
	}
}

// stagedAs returns the entry of the segment's object that no manifest names yet. It returns nil if
// there is none, or if its range differs.
func (p *partition) stagedAs(m *format.Manifest, s closedSegment) *format.Segment {
	owned, ok := p.own.Phase().(ownership.Owned)
	if !ok {
		return nil
	}
	start := startOf(m, s)
	for i := range p.chores.staged {
		old := &p.chores.staged[i]
		if old.BaseOffset == s.baseOffset && old.StartOffset == start && old.EndOffset == s.endOffset && owned.Staged().Has(old.Name) {
			return old
		}
	}
	return nil
}

// stagedInOrder returns the entries of the segments that are staged, up to the first that is not.
func (p *partition) stagedInOrder(m *format.Manifest, segments []closedSegment) (entries []format.Segment) {
	for _, s := range segments {
		staged := p.stagedAs(m, s)
		if staged == nil {
			break
		}
		entries = append(entries, *staged)
	}
	return entries
}

// startOf returns the first offset that a segment's object serves: no offset is in the tier twice.
func startOf(m *format.Manifest, s closedSegment) int64 {
	start := s.baseOffset
	if m.Sequence > 0 {
		start = max(start, m.EndOffset)
	}
	return start
}

// uploads are the uploads of one unit of work, which run side by side. Each has its own index
// in the slices.
type uploads struct {
	p        *partition
	manifest *format.Manifest // that they are to follow
	segments []closedSegment
	waiting  int // closed segments of the partition, including these
	names    []string
	entries  []*format.Segment // nil: the upload failed
	errs     []error
}

func newUploads(ctx context.Context, p *partition, m *format.Manifest, segments []closedSegment) *uploads {
	n := len(segments)
	u := &uploads{p: p, manifest: m, segments: segments, names: make([]string, n), entries: make([]*format.Segment, n), errs: make([]error, n)}
	for i, s := range segments {
		u.names[i] = format.Name{
			Kind: format.KindSegment, StartOffset: startOf(m, s), LeaderEpoch: p.LeaderEpoch, Attempt: newAttempt(ctx),
		}.String()
	}
	return u
}

// upload does the i-th upload.
func (u *uploads) upload(ctx context.Context, i int) {
	defer u.p.m.streams.give(1)
	u.p.Stats.CopyRequests.Add(1)
	if u.entries[i], u.errs[i] = u.put(ctx, u.segments[i], u.names[i]); u.errs[i] != nil {
		u.p.m.metrics.errors.WithLabelValues("upload").Inc()
		u.p.Stats.CopyErrors.Add(1)
	}
}

// put writes a segment's object to the bucket and returns the manifest's entry for it.
func (u *uploads) put(ctx context.Context, s closedSegment, name string) (_ *format.Segment, err error) {
	p, start := u.p, startOf(u.manifest, s)
	ctx, span := p.m.span(ctx, "upload segment", p.TopicPartition, s.baseOffset)
	defer func() { endSpan(span, err) }()
	files, release, err := s.open()
	if err != nil {
		return nil, fmt.Errorf("open segment %d: %w", s.baseOffset, err)
	}
	defer release()
	obj, err := newObject(format.Description{
		ClusterID:   p.m.o.ClusterID,
		Topic:       p.TopicPartition.Topic,
		TopicID:     p.TopicID,
		Partition:   p.TopicPartition.Partition,
		LeaderEpoch: p.LeaderEpoch,
		BrokerID:    p.m.o.BrokerID,
		CreatedMs:   p.m.o.Now().UnixMilli(),
		BaseOffset:  s.baseOffset,
		StartOffset: start,
		EndOffset:   s.endOffset,
		LogStart:    p.log.StartOffset(),
		ChunkBytes:  int32(p.m.o.ChunkBytes),
		Lineage:     u.manifest.Lineage,
	}, files)
	if err != nil {
		return nil, err
	}
	if err = p.m.objects.upload(ctx, p.prefix+name, obj, p.paceOf(s, u.waiting)); err != nil {
		return nil, err
	}
	epochs := rangeEpochs(epochsOf(files.LeaderEpochs), start, s.endOffset)
	if len(epochs) == 0 {
		epochs = []format.Epoch{{int64(p.LeaderEpoch), start}}
	}
	entry := obj.entry(name, epochs)
	return &entry, nil
}

// done returns the objects that were uploaded.
func (u *uploads) done() ownership.Objects {
	var names []string
	for i, entry := range u.entries {
		if entry != nil {
			names = append(names, u.names[i])
		}
	}
	return ownership.ObjectsOf(names...)
}

// failed returns the error of the first upload that failed, nil if none did.
func (u *uploads) failed() error {
	for _, err := range u.errs {
		if err != nil {
			return err
		}
	}
	return nil
}
