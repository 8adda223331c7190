package tiering

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/varvelog/varve/backoff"
)

const (
	// maxExpired bounds how many entries one manifest drops.
	maxExpired = 1024
	// maxDeletions bounds the deletion list: nothing more expires until the
	// objects on it are gone.
	maxDeletions = 4096
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
	m, gone := p.manifest.Load(), p.deletions.doneCount()
	if len(m.Deletions)-gone > maxDeletions {
		return false, nil
	}
	r, err := p.retain(ctx, m)
	if err != nil {
		return false, fmt.Errorf("look for expired segments: %w", err)
	}
	if r.start <= m.StartOffset && gone < compactDeletions {
		return false, nil
	}
	n := p.nextManifest()
	if r.start > m.StartOffset {
		if err = n.expire(ctx, r.start, p.deleteAfter(p.m.o.Now()), p.lookAtPage); err != nil {
			return false, fmt.Errorf("expire segments: %w", err)
		}
	}
	if err = p.commit(ctx, n, false); err != nil {
		p.m.metrics.errors.WithLabelValues("commit").Inc()
		return false, fmt.Errorf("commit retention: %w", err)
	}
	if r.start > m.StartOffset {
		p.logger().Info("segments of the remote tier have expired",
			slog.Int64("segments", m.Segments-n.Segments), slog.Int64("bytes", m.Bytes-n.Bytes), slog.Int64("start_offset", n.StartOffset))
	}
	return r.more, p.tellLog()
}

// retention is a look at the oldest entries of a manifest. As in Kafka the oldest
// segments go, up to the first that may stay.
type retention struct {
	// logStart is the log's: all below it goes.
	logStart int64
	// expireBefore is the newest time that goes; negative: none does for its age.
	expireBefore int64
	// excess is by how many bytes both tiers are too large; negative: they are not.
	excess int64
	load   pageLoader

	start   int64 // the end of the last entry that goes, or the present start
	expired int   // entries that go
	more    bool  // it has ended at maxExpired
	first   *segment
}

// retain looks which entries have to go. An error that keeps it from looking further
// counts only when nothing has to go before that.
func (p *partition) retain(ctx context.Context, m *manifest) (retention, error) {
	cfg := p.Config()
	r := retention{logStart: p.log.StartOffset(), expireBefore: -1, excess: -1, load: p.lookAtPage, start: m.StartOffset}
	if m.empty() {
		return r, nil
	}
	if cfg.CleanupDelete && cfg.RetentionMs >= 0 {
		r.expireBefore = p.m.o.Now().UnixMilli() - cfg.RetentionMs
	}
	if cfg.CleanupDelete && cfg.RetentionBytes >= 0 {
		r.excess = m.Bytes + p.log.SizeFrom(m.EndOffset) - cfg.RetentionBytes
	}
	if r.idle() || p.chores.oldest.holds(m.StartOffset) && r.keeps(p.chores.oldest) {
		return r, nil // as most of the time: without a look into a page
	}
	ended, err := r.pages(ctx, m.Pages)
	if !ended {
		r.segments(m.Recent)
	}
	if err != nil && r.start == m.StartOffset {
		return r, err
	}
	if p.chores.oldest = r.first; err != nil {
		r.more = true
	}
	return r, nil
}

// idle returns true if nothing can have to go, whatever the entries say.
func (r *retention) idle() bool { return r.expireBefore < 0 && r.excess < 0 && r.logStart <= r.start }

// pages goes through pages. It returns true where retention ends: at an entry that
// stays, at the bound, or at an error.
func (r *retention) pages(ctx context.Context, refs []pageRef) (ended bool, err error) {
	for i := range refs {
		ref := &refs[i]
		switch {
		case ref.EndOffset <= r.start:
			continue
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
func (r *retention) page(ctx context.Context, ref *pageRef) (ended bool, err error) {
	pg, err := r.load(ctx, *ref)
	switch {
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
func (r *retention) drops(ref *pageRef) bool {
	return ref.EndOffset <= r.logStart || ref.MaxTimestamp >= 0 && ref.MaxTimestamp <= r.expireBefore ||
		ref.StartOffset >= r.start && r.excess >= ref.Bytes
}

// segments goes through entries, and returns true where retention ends.
func (r *retention) segments(segments []segment) (ended bool) {
	for i := range segments {
		s := &segments[i]
		if s.EndOffset <= r.start {
			continue
		}
		if r.keeps(s) {
			first := *s // which does not keep its page in memory
			r.first = &first
			return true
		}
		if r.take(s.EndOffset, s.ownBytes()); r.more {
			return true
		}
	}
	return false
}

// keeps returns true if the entry stays when it is the oldest one.
func (r *retention) keeps(s *segment) bool {
	return s.EndOffset > r.logStart && s.age() > r.expireBefore && r.excess-s.ownBytes() < 0
}

func (r *retention) take(end, bytes int64) {
	r.start = end
	r.excess -= bytes
	r.expired++
	r.more = r.expired == maxExpired
}

// holds returns true if the entry, which may be none, is the oldest one of a tier that
// starts at an offset.
func (s *segment) holds(start int64) bool {
	return s != nil && s.StartOffset <= start && start < s.EndOffset
}

// age is the time by which the segment expires. One without any timestamp has
// that of its upload.
func (s *segment) age() int64 {
	if s.MaxTimestamp < 0 {
		return s.UploadedMs
	}
	return s.MaxTimestamp
}

// ownBytes are the bytes of the log that no other entry serves: without those of the
// entry before, when another leader has cut the segment. Their share is taken for that
// of the offsets.
func (s *segment) ownBytes() int64 {
	if s.StartOffset <= s.BaseOffset {
		return s.Bytes
	}
	return s.Bytes * (s.EndOffset - s.StartOffset) / (s.EndOffset - s.BaseOffset)
}

// jitter is a random part of d.
func (m *Manager) jitter(d time.Duration) time.Duration {
	b := backoff.Backoff{Min: 2 * d, Max: 2 * d}
	return b.Next() - d
}
