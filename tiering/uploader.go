package tiering

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/varvelog/varve/tiering/format"
	"github.com/varvelog/varve/tiering/ownership"
)

// upload copies the next closed segment, if there is one, and commits it. The
// order is the point: object, verify, manifest, pointer, and only then is the
// local log told that it may delete. A crash in between leaves an object that
// no manifest names, which the sweeper finds.
func (p *partition) upload(ctx context.Context) (more bool, err error) {
	m := p.manifest.Load()
	segments, waiting := p.pending()
	if len(segments) == 0 || p.Config().RemoteCopyDisable {
		return false, nil
	}
	next := segments[0]
	ctx, span := p.m.span(ctx, "upload segment", p.TopicPartition, next.baseOffset)
	defer func() { endSpan(span, err) }()
	if !m.Empty() && next.baseOffset > m.EndOffset {
		return false, fmt.Errorf("%w: its next closed segment starts at offset %d, the tier ends at %d", ErrGap, next.baseOffset, m.EndOffset)
	}
	began := time.Now()
	p.Stats.CopyRequests.Add(1)
	entry, err := p.stage(ctx, m, next)
	if err != nil {
		p.m.metrics.errors.WithLabelValues("upload").Inc()
		p.Stats.CopyErrors.Add(1)
		return false, err
	}
	n, edit, err := p.nextManifest(ctx)
	if err == nil {
		n.Append(edit, *entry)
		err = p.commit(ctx, n, true)
	}
	if err != nil {
		p.m.metrics.errors.WithLabelValues("commit").Inc()
		p.Stats.CopyErrors.Add(1)
		return false, fmt.Errorf("commit segment %s: %w", entry.Name, err)
	}
	p.uploaded(*entry, began, lag{waiting.segments - 1, waiting.bytes - next.bytes})
	if err = p.tellLog(); err != nil {
		return false, err
	}
	return len(segments) > 1, nil
}

// pending are the closed segments that are not in the tier and should be, which it notes as the
// partition's lag.
func (p *partition) pending() ([]closedSegment, lag) {
	if cfg := p.Config(); !cfg.RemoteStorageEnable || cfg.CleanupCompact {
		p.setLag(lag{})
		return nil, lag{}
	}
	m := p.manifest.Load()
	from := p.log.StartOffset()
	if m.Sequence > 0 {
		from = max(from, m.EndOffset)
	}
	segments := p.log.closedSegments(from)
	waiting := lag{segments: int64(len(segments))}
	for _, s := range segments {
		waiting.bytes += s.bytes
	}
	p.setLag(waiting)
	return segments, waiting
}

// stage puts the segment's object into the bucket and returns the manifest's
// entry for it. An object that is there since a commit failed is not uploaded again.
func (p *partition) stage(ctx context.Context, m *format.Manifest, s closedSegment) (*format.Segment, error) {
	start := s.baseOffset
	if m.Sequence > 0 {
		start = max(start, m.EndOffset)
	}
	if old := p.staged(); old != nil && old.BaseOffset == s.baseOffset && old.StartOffset == start && old.EndOffset == s.endOffset {
		return old, nil
	}
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
		Lineage:     m.Lineage,
	}, files)
	if err != nil {
		return nil, err
	}
	name := format.Name{Kind: format.KindSegment, StartOffset: start, LeaderEpoch: p.LeaderEpoch, Attempt: newAttempt(ctx)}.String()
	err = p.do(ctx, ownership.UploadDue{Object: name}, func(ctx context.Context, _ ownership.Request) error {
		return p.m.objects.upload(ctx, p.prefix+name, obj)
	})
	if err != nil {
		return nil, err
	}
	epochs := rangeEpochs(epochsOf(files.LeaderEpochs), start, s.endOffset)
	if len(epochs) == 0 {
		epochs = []format.Epoch{{int64(p.LeaderEpoch), start}}
	}
	entry := obj.entry(name, epochs)
	p.chores.staged = &entry
	return p.chores.staged, nil
}

// staged is the entry of the segment object that no manifest names yet, nil if
// there is none.
func (p *partition) staged() *format.Segment {
	owned, ok := p.own.Phase().(ownership.Owned)
	if s := p.chores.staged; ok && s != nil && s.Name == owned.Staged() {
		return s
	}
	return nil
}

func (p *partition) uploaded(s format.Segment, began time.Time, left lag) {
	p.m.metrics.uploadedSegments.Inc()
	p.m.metrics.uploadedBytes.Add(float64(s.ObjectBytes))
	p.Stats.CopyBytes.Add(s.ObjectBytes)
	p.m.metrics.uploadSeconds.Observe(time.Since(began).Seconds())
	p.setLag(left)
	now := p.m.o.Now()
	p.m.lastSuccess.note(successUpload, now)
	p.mu.Lock()
	p.mu.lastUpload = now.UnixMilli()
	p.mu.Unlock()
	p.logger().Debug("segment is in the remote tier",
		slog.String("object", s.Name), slog.Int64("start_offset", s.StartOffset), slog.Int64("end_offset", s.EndOffset), slog.Int64("bytes", s.ObjectBytes))
}

// setLag changes the partition's part in the gauges of all partitions.
func (p *partition) setLag(l lag) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.m.metrics.lagSegments.Add(float64(l.segments - p.mu.lag.segments))
	p.m.metrics.lagBytes.Add(float64(l.bytes - p.mu.lag.bytes))
	switch {
	case l == lag{}:
		p.mu.lagSince = time.Time{}
	case p.mu.lagSince.IsZero() || l.segments < p.mu.lag.segments: // the first, or one went up
		p.mu.lagSince = p.m.o.Now()
	}
	p.mu.lag = l
}

// waitsSince is since when something has waited and nothing has gone up; zero: nothing waits.
func (p *partition) waitsSince() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Config().RemoteCopyDisable {
		return time.Time{}
	}
	return p.mu.lagSince
}
