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
	// compactTrash is the number of deleted trash entries from which on it pays to write a manifest
	// only to drop them. Below that the next upload does it. It must be more than one: each
	// manifest makes trash of the one before, so an idle partition would write manifests forever.
	compactTrash = 512
	// logStartDelay is how long a log start that has moved within a segment waits for another
	// reason to write a manifest.
	logStartDelay = 5 * time.Minute
)

// expire applies retention.ms and retention.bytes over both tiers, and the log start. The order is
// the reverse of upload's: first a manifest without the segments, then the log start, and the
// objects only after a grace period for readers.
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

// logStartDue reports whether the manifest has been behind the log's start for long enough: a
// restore of the partition from the bucket must not bring back records that were deleted.
func (p *partition) logStartDue(m *format.Manifest) bool {
	return m.Sequence > 0 && min(p.log.StartOffset(), m.EndOffset) > m.LogStart &&
		p.m.o.Now().Sub(time.UnixMilli(m.CreatedMs)) >= logStartDelay
}

// retention is a pass over the oldest entries of a manifest. As in Kafka the oldest segments
// expire, up to the first that may stay. It also ends at an entry that this build does not
// know well enough.
type retention struct {
	// logStart is the log start offset: everything below it expires.
	logStart int64
	// expireBefore is the newest timestamp that expires, in unix ms; negative: none expires by age.
	expireBefore int64
	// excess is by how many bytes both tiers exceed retention.bytes; negative: they do not.
	excess int64
	load   format.Loader

	start   int64 // the end of the last entry that expires, or the present start
	expired int   // number of entries that expire
	more    bool  // maxExpired ended the pass, or an error did: more may expire
}

// retain determines which entries have to expire. An error that ends the pass counts only if
// nothing expires before it.
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
		return r, nil // the usual case, without loading a page
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

// pages goes through pages. It returns true where retention ends: at an entry that stays, at the
// bound, or at an error.
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

// page goes through a page. A page that is missing or damaged expires once its reference says that
// all of it has to.
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

// drops reports whether every entry of the page has to expire.
func (r *retention) drops(ref *format.PageRef) bool {
	return ref.EndOffset <= r.logStart || ref.MaxTimestamp >= 0 && ref.MaxTimestamp <= r.expireBefore ||
		ref.StartOffset >= r.start && r.excess >= ref.Bytes
}

// segments goes through entries. It returns true where retention ends.
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

// keeps reports whether an entry with that end, time and size stays when it is the oldest one.
func (r *retention) keeps(end, age, bytes int64) bool {
	return end > r.logStart && age > r.expireBefore && r.excess-bytes < 0
}

func (r *retention) take(end, bytes int64) {
	r.start = end
	r.excess -= bytes
	r.expired++
	r.more = r.expired == maxExpired
}

// jitter returns a random part of d.
func jitter(ctx context.Context, d time.Duration) time.Duration {
	return time.Duration(stepped.Int64N(ctx, int64(d)+1))
}
