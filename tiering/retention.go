package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/varvelog/varve/stepped"
	"github.com/varvelog/varve/tiering/format"
)

const (
	// maxExpired bounds how many entries one manifest drops.
	maxExpired = 1024
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
	r, err := p.retain(ctx, m)
	if err != nil {
		return false, fmt.Errorf("look for expired segments: %w", err)
	}
	if r.start <= m.StartOffset && p.deletions.doneCount(m) < compactTrash && !p.logStartDue(m) {
		return false, nil
	}
	n, edit, err := p.nextManifest(ctx)
	if err != nil {
		return false, fmt.Errorf("commit retention: %w", err)
	}
	if r.start > m.StartOffset {
		if err = n.Expire(ctx, edit, r.start, p.lookAtPage); err != nil {
			return false, fmt.Errorf("expire segments: %w", err)
		}
	}
	if err = p.commit(ctx, n, ""); err != nil {
		p.m.metrics.errors.WithLabelValues("commit").Inc()
		return false, fmt.Errorf("commit retention: %w", err)
	}
	if r.start > m.StartOffset {
		p.logger().Info("segments of the remote tier have expired",
			slog.Int64("segments", m.Segments-n.Segments), slog.Int64("bytes", m.Bytes-n.Bytes), slog.Int64("start_offset", n.StartOffset))
	}
	return r.more, p.tellLog()
}

// logStartDue returns true if the manifest has another log start than the log for long enough: one
// who restores the partition from the bucket must not get records back that were deleted.
func (p *partition) logStartDue(m *format.Manifest) bool {
	return m.Sequence > 0 && min(p.log.StartOffset(), m.EndOffset) > m.LogStart &&
		p.m.o.Now().Sub(time.UnixMilli(m.CreatedMs)) >= logStartDelay
}

// retention is a look at the oldest entries of a manifest. As in Kafka the oldest
// segments go, up to the first that may stay; and none that this build does not know well
// enough.
type retention struct {
	// logStart is the log's: all below it goes.
	logStart int64
	// expireBefore is the newest time that goes; negative: none does for its age.
	expireBefore int64
	// excess is by how many bytes both tiers are too large; negative: they are not.
	excess int64
	load   format.Loader

	start   int64 // the end of the last entry that goes, or the present start
	expired int   // entries that go
	more    bool  // it has ended at maxExpired
}

// retain looks which entries have to go. An error that keeps it from looking further
// counts only when nothing has to go before that.
func (p *partition) retain(ctx context.Context, m *format.Manifest) (retention, error) {
	cfg := p.Config()
	r := retention{logStart: p.log.StartOffset(), expireBefore: -1, excess: -1, load: p.lookAtWritable, start: m.StartOffset}
	if m.Empty() {
		return r, nil
	}
	if cfg.CleanupDelete && cfg.RetentionMs >= 0 {
		r.expireBefore = p.m.o.Now().UnixMilli() - cfg.RetentionMs
	}
	if cfg.CleanupDelete && cfg.RetentionBytes >= 0 {
		r.excess = m.Bytes + p.log.SizeFrom(m.EndOffset) - cfg.RetentionBytes
	}
	if o := m.Oldest; r.keeps(o.EndOffset, o.Time, o.Bytes) {
		return r, nil // as most of the time: without a look into a page
	}
	m, err := p.wholeForWork(ctx)
	if err != nil {
		return r, err
	}
	ended, err := r.pages(ctx, m.Pages)
	if !ended {
		r.segments(m.Recent)
	}
	if err != nil && r.start == m.StartOffset {
		return r, err
	}
	r.more = r.more || err != nil
	return r, nil
}

// pages goes through pages. It returns true where retention ends: at an entry that
// stays, at the bound, or at an error.
func (r *retention) pages(ctx context.Context, refs []format.PageRef) (ended bool, err error) {
	for i := range refs {
		ref := &refs[i]
		switch {
		case ref.EndOffset <= r.start:
			continue
		case ref.Supported() != nil:
			return true, nil //nolint:nilerr // retention ends there, without an error
		case ref.EndOffset <= r.logStart:
			r.take(ref.EndOffset, ref.Bytes)
		default:
			if ended, err = r.page(ctx, ref); ended {
				return true, err
			}
		}
		if r.more {
			return true, nil
		}
	}
	return false, nil
}

// page goes through a page. One that is missing or damaged goes when all of it has to,
// by what the reference to it says.
func (r *retention) page(ctx context.Context, ref *format.PageRef) (ended bool, err error) {
	pg, err := r.load(ctx, ref)
	switch {
	case beyond(err):
		return true, nil
	case errors.Is(err, ErrCorrupt) && r.drops(ref):
		r.take(ref.EndOffset, ref.Bytes)
		return r.more, nil
	case err != nil:
		return true, err
	}
	if ended, err = r.pages(ctx, pg.Pages); ended {
		return true, err
	}
	return r.segments(pg.Segments), nil
}

// drops returns true if every entry of the page has to go.
func (r *retention) drops(ref *format.PageRef) bool {
	return ref.EndOffset <= r.logStart || ref.MaxTimestamp >= 0 && ref.MaxTimestamp <= r.expireBefore ||
		ref.StartOffset >= r.start && r.excess >= ref.Bytes
}

// segments goes through entries, and returns true where retention ends.
func (r *retention) segments(segments []format.Segment) (ended bool) {
	for i := range segments {
		s := &segments[i]
		if s.EndOffset <= r.start {
			continue
		}
		if r.keeps(s.EndOffset, s.RetentionTime(), s.Bytes) || s.Supported() != nil {
			return true
		}
		if r.take(s.EndOffset, s.Bytes); r.more {
			return true
		}
	}
	return false
}

// keeps returns true if an entry with that end, time and size stays when it is the oldest one.
func (r *retention) keeps(end, age, bytes int64) bool {
	return end > r.logStart && age > r.expireBefore && r.excess-bytes < 0
}

func (r *retention) take(end, bytes int64) {
	r.start = end
	r.excess -= bytes
	r.expired++
	r.more = r.expired == maxExpired
}

// jitter is a random part of d.
func jitter(ctx context.Context, d time.Duration) time.Duration {
	return time.Duration(stepped.Int64N(ctx, int64(d)+1))
}
