package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/varvelog/varve/backoff"
	"github.com/varvelog/varve/tiering/format"
	"github.com/varvelog/varve/tiering/ownership"
)

const (
	// maxExpired bounds how many segments one manifest drops.
	maxExpired = 1024
	// maxDeletesPerStep bounds how long the deletion of objects keeps a worker.
	maxDeletesPerStep = 256
	// compactTrash is when it pays to write a manifest only to leave out trash that
	// is deleted. Below that the next upload does it. It must be more than one, or an
	// idle partition would write manifests for ever: each makes trash of the one before.
	compactTrash = 512
	// logStartDelay is how long a log start that has moved within a segment waits for
	// another reason to write a manifest.
	logStartDelay = 5 * time.Minute
)

// expire applies retention.ms and retention.bytes over both tiers, and the log
// start. The order is the reverse of upload's: a manifest without the segments,
// the log start, and the objects only after a grace for readers.
func (p *partition) expire(ctx context.Context) (more bool, err error) {
	m := p.manifest.Load()
	newStart, more, err := p.retentionStart(ctx, m)
	if err != nil {
		return false, fmt.Errorf("look for expired segments: %w", err)
	}
	if newStart <= m.StartOffset && p.chores.deleted.count(m) < compactTrash && !p.logStartDue(m) {
		return false, nil
	}
	n, edit := p.nextManifest()
	if newStart > m.StartOffset {
		if err = n.Expire(ctx, edit, newStart, p.loadPage); err != nil {
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

// logStartDue returns true if the manifest has another log start than the log for long enough: one
// who restores the partition from the bucket must not get records back that were deleted.
func (p *partition) logStartDue(m *format.Manifest) bool {
	return m.Sequence > 0 && min(p.log.StartOffset(), m.EndOffset) > m.LogStart &&
		p.m.o.Now().Sub(time.UnixMilli(m.CreatedMs)) >= logStartDelay
}

// retentionStart is the end of the last segment that has to go, or the present
// start. As in Kafka the oldest segments go, up to the first that may stay; and none
// that this build does not know well enough. Until the oldest one may go no page is read.
func (p *partition) retentionStart(ctx context.Context, m *format.Manifest) (start int64, more bool, err error) {
	if m.Empty() {
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
	stays := func(end, retentionTime, excess int64) bool {
		return end > logStart && retentionTime > expireBefore && excess < 0
	}
	start = m.StartOffset
	if o := m.Oldest; stays(o.EndOffset, o.Time, excess-o.Bytes) {
		return start, false, nil
	}
	expired := 0
	for s, segErr := range m.Tree(p.loadWritable).SegmentsFrom(ctx, start, nil) {
		if beyond(segErr) {
			break
		}
		if segErr != nil {
			return 0, false, segErr
		}
		excess -= s.Bytes
		if stays(s.EndOffset, s.RetentionTime(), excess) || s.Supported() != nil {
			break
		}
		start = s.EndOffset
		if expired++; expired == maxExpired {
			return start, true, nil
		}
	}
	return start, false, nil
}

// deleteDue deletes objects whose grace is over, and that no pin keeps. That they are
// gone is noted in the manifest with its next version; after a crash they are deleted again.
func (p *partition) deleteDue(ctx context.Context) (more bool, err error) {
	if p.manifest.Load().PinnedUntil() > p.m.o.Now().UnixMilli() {
		return false, nil
	}
	err = p.do(ctx, ownership.DeletionsDue{}, func(ctx context.Context, _ ownership.Request) error {
		listed, listErr := p.deleteListed(ctx)
		sealed, sealErr := p.emptyTrashPages(ctx)
		more = listed || sealed
		return errors.Join(listErr, sealErr)
	})
	return more, err
}

func (p *partition) deleteListed(ctx context.Context) (more bool, err error) {
	now := p.m.o.Now().UnixMilli()
	budget := maxDeletesPerStep
	trash := p.manifest.Load().Trash
	for i := range trash {
		d := &trash[i]
		if d.AfterMs > now || p.chores.deleted.gone[d.Name] {
			continue
		}
		if budget <= 0 {
			return true, nil
		}
		n, delErr := p.m.objects.removeTrash(ctx, p.prefix, d)
		budget -= n
		p.Stats.DeleteRequests.Add(int64(n))
		if beyond(delErr) {
			continue
		}
		if delErr != nil {
			p.Stats.DeleteErrors.Add(1)
			p.m.metrics.errors.WithLabelValues("delete").Inc()
			return false, fmt.Errorf("delete expired objects: %w", delErr)
		}
		p.chores.deleted.gone[d.Name] = true
	}
	return false, nil
}

// jitter is a random part of d.
func (m *Manager) jitter(d time.Duration) time.Duration {
	b := backoff.Backoff{Min: 2 * d, Max: 2 * d}
	return b.Next() - d
}
