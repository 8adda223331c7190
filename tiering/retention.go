package tiering

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/tiering/ownership"
)

const (
	// maxExpired bounds how many segments one manifest drops.
	maxExpired = 1024
	// maxDeletions bounds the deletion list: nothing more expires until the
	// objects on it are gone.
	maxDeletions = 4096
	// maxDeletesPerStep bounds how long the deletion of objects keeps a worker.
	maxDeletesPerStep = 256
	// compactDeletions is when it pays to write a manifest only to take deleted
	// objects off its list. Below that the next upload does it. It must be more
	// than one, or an idle partition would write manifests for ever: each adds
	// the one before to the list.
	compactDeletions = 512
)

// expire applies retention.ms and retention.bytes over both tiers, and the log
// start. The order is the reverse of upload's: a manifest without the segments,
// the log start, and the objects only after a grace for readers.
func (p *partition) expire(ctx context.Context) (more bool, err error) {
	m := p.manifest.Load()
	if len(m.Deletions)-len(p.chores.gone) > maxDeletions {
		return false, nil
	}
	newStart, more, err := p.retentionStart(ctx, m)
	if err != nil {
		return false, fmt.Errorf("look for expired segments: %w", err)
	}
	if newStart <= m.StartOffset && len(p.chores.gone) < compactDeletions {
		return false, nil
	}
	n := p.nextManifest()
	if newStart > m.StartOffset {
		if err = n.expire(ctx, newStart, p.deleteAfter(p.m.o.Now()), p.loadPage); err != nil {
			return false, fmt.Errorf("expire segments: %w", err)
		}
	}
	if err = p.commit(ctx, n, false); err != nil {
		p.m.metrics.errors.WithLabelValues("commit").Inc()
		return false, fmt.Errorf("commit retention: %w", err)
	}
	if newStart > m.StartOffset {
		p.logger().Info("segments of the remote tier have expired",
			slog.Int64("segments", m.Segments-n.Segments), slog.Int64("bytes", m.Bytes-n.Bytes), slog.Int64("start_offset", n.StartOffset))
	}
	return more, p.tellLog()
}

// retentionStart is the end of the last segment that has to go, or the present
// start. As in Kafka the oldest segments go, up to the first that may stay.
func (p *partition) retentionStart(ctx context.Context, m *manifest) (start int64, more bool, err error) {
	if m.empty() {
		return m.StartOffset, false, nil
	}
	cfg := p.Config()
	logStart := p.log.StartOffset()
	expireBefore, excess := int64(-1), int64(-1)
	if cfg.CleanupDelete && cfg.RetentionMs >= 0 {
		expireBefore = p.m.o.Now().UnixMilli() - cfg.RetentionMs
	}
	if cfg.CleanupDelete && cfg.RetentionBytes >= 0 {
		excess = m.Bytes + p.log.SizeFrom(m.EndOffset) - cfg.RetentionBytes
	}
	start = m.StartOffset
	expired := 0
	for s, segErr := range m.segmentsFrom(ctx, start, p.loadPage, nil) {
		if segErr != nil {
			return 0, false, segErr
		}
		excess -= s.Bytes
		if s.EndOffset > logStart && s.age() > expireBefore && excess < 0 {
			break
		}
		start = s.EndOffset
		if expired++; expired == maxExpired {
			return start, true, nil
		}
	}
	return start, false, nil
}

// age is the time by which the segment expires. One without any timestamp has
// that of its upload.
func (s *segment) age() int64 {
	if s.MaxTimestamp < 0 {
		return s.UploadedMs
	}
	return s.MaxTimestamp
}

// deleteDue deletes objects whose grace is over. That they are gone is noted in
// the manifest with its next version; after a crash they are deleted again.
func (p *partition) deleteDue(ctx context.Context) (more bool, err error) {
	err = p.do(ctx, ownership.DeletionsDue{}, func(ctx context.Context, _ ownership.Request) error {
		more, err = p.deleteListed(ctx)
		return err
	})
	return more, err
}

func (p *partition) deleteListed(ctx context.Context) (more bool, err error) {
	now := p.m.o.Now().UnixMilli()
	budget := maxDeletesPerStep
	for _, d := range p.manifest.Load().Deletions {
		if d.AfterMs > now || p.chores.gone[d.Name] {
			continue
		}
		if budget <= 0 {
			return true, nil
		}
		n, delErr := p.m.objects.removeTree(ctx, p.prefix, d.Name)
		budget -= n
		p.Stats.DeleteRequests.Add(int64(n))
		if delErr != nil {
			p.Stats.DeleteErrors.Add(1)
			p.m.metrics.errors.WithLabelValues("delete").Inc()
			return false, fmt.Errorf("delete expired objects: %w", delErr)
		}
		p.chores.gone[d.Name] = true
	}
	return false, nil
}

// jitter is a random part of d.
func (m *Manager) jitter(d time.Duration) time.Duration {
	b := backoff.Backoff{Min: 2 * d, Max: 2 * d}
	return b.Next() - d
}
