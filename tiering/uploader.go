package tiering

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/varvelog/varve/tiering/format"
	"github.com/varvelog/varve/tiering/ownership"
)

// upload uploads the oldest waiting segments, several side by side, and commits with one manifest
// those that continue the tier. The order matters: objects, verification, manifest, pointer, and
// only then does the log learn what it may delete. A crash in between leaves objects that no
// manifest names, which the sweeper finds. An object after a failed upload stays staged, and is
// committed once the missing one is uploaded.
func (p *partition) upload(ctx context.Context) (more bool, err error) {
	m := p.manifest.Load()
	segments, waiting := p.pending()
	if len(segments) == 0 || p.Config().RemoteCopyDisable {
		return false, nil
	}
	next := segments[0]
	ctx, span := p.m.span(ctx, "upload segments", p.TopicPartition, next.baseOffset)
	defer func() { endSpan(span, err) }()
	if !m.Empty() && next.baseOffset > m.EndOffset {
		return false, fmt.Errorf("%w: its next closed segment starts at offset %d, the tier ends at %d", ErrGap, next.baseOffset, m.EndOffset)
	}
	began := time.Now()
	failed := p.stage(ctx, m, segments[:min(len(segments), maxStaged)])
	entries := p.stagedInOrder(m, segments)
	if len(entries) == 0 || !p.owns() || ctx.Err() != nil {
		return false, failed
	}
	if err = p.commitStaged(ctx, entries); err != nil {
		return false, err
	}
	for i := range entries {
		waiting.segments--
		waiting.bytes -= segments[i].bytes
		p.uploaded(&entries[i], began)
	}
	p.setLag(waiting)
	if err = p.tellLog(); err != nil {
		return false, err
	}
	return len(segments) > len(entries), failed
}

// commitStaged commits a manifest that also has the entries, which continue the tier.
func (p *partition) commitStaged(ctx context.Context, entries []format.Segment) error {
	names := make([]string, len(entries))
	n, edit, err := p.nextManifest(ctx)
	if err == nil {
		for i := range entries {
			names[i] = entries[i].Name
			n.Append(edit, entries[i])
		}
		err = p.commit(ctx, n, ownership.ObjectsOf(names...))
	}
	if err != nil {
		p.m.metrics.errors.WithLabelValues("commit").Inc()
		p.Stats.CopyErrors.Add(1)
		return fmt.Errorf("commit segments from %s on: %w", entries[0].Name, err)
	}
	return nil
}

// pending returns the closed segments that are not in the tier and should be. It records them as
// the partition's lag.
func (p *partition) pending() ([]closedSegment, lag) {
	cfg := p.Config()
	if !cfg.RemoteStorageEnable || cfg.CleanupCompact {
		p.setLag(lag{})
		return nil, lag{}
	}
	m := p.manifest.Load()
	from := p.log.StartOffset()
	if m.Sequence > 0 {
		from = max(from, m.EndOffset)
	}
	segments := p.log.closedSegments(from)
	segments = segments[:p.ripe(&cfg, segments)]
	waiting := lag{segments: int64(len(segments))}
	for _, s := range segments {
		waiting.bytes += s.bytes
	}
	p.setLag(waiting)
	return segments, waiting
}

func (p *partition) uploaded(s *format.Segment, began time.Time) {
	p.m.metrics.uploadedSegments.Inc()
	p.m.metrics.uploadedBytes.Add(float64(s.ObjectBytes))
	p.Stats.CopyBytes.Add(s.ObjectBytes)
	p.m.metrics.uploadSeconds.Observe(time.Since(began).Seconds())
	now := p.m.o.Now()
	p.m.lastSuccess.note(successUpload, now)
	p.mu.Lock()
	p.mu.lastUpload = now.UnixMilli()
	p.mu.Unlock()
	p.logger().Debug("segment is in the remote tier",
		slog.String("object", s.Name), slog.Int64("start_offset", s.StartOffset), slog.Int64("end_offset", s.EndOffset), slog.Int64("bytes", s.ObjectBytes))
}

// setLag sets the partition's lag, and its share in the gauges over all partitions.
func (p *partition) setLag(l lag) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.m.metrics.lagSegments.Add(float64(l.segments - p.mu.lag.segments))
	p.m.metrics.lagBytes.Add(float64(l.bytes - p.mu.lag.bytes))
	switch {
	case l == lag{}:
		p.mu.lagSince = time.Time{}
	case p.mu.lagSince.IsZero() || l.segments < p.mu.lag.segments: // the first, or one was uploaded
		p.mu.lagSince = p.m.o.Now()
	}
	p.mu.lag = l
}

// waitsSince returns since when segments have waited and none was uploaded. It returns zero if none
// waits, or if the topic's uploads are paused.
func (p *partition) waitsSince() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Config().RemoteCopyDisable {
		return time.Time{}
	}
	return p.mu.lagSince
}
