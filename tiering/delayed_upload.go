package tiering

import (
	"time"

	"github.com/varvelog/varve/storage"
)

// ripe returns how many of the closed segments, from the first on, are to be uploaded now. As in
// Kafka (KIP-1241) a segment is ripe if it is old enough by remote.copy.lag.ms, or far enough
// behind the log's end by remote.copy.lag.bytes. It is ripe in any case once one of its records has
// waited for varve.tier.max.lag.ms.
func (p *partition) ripe(cfg *storage.Config, segments []closedSegment) int {
	ms, bytes := cfg.RemoteCopyLag()
	if ms == 0 || bytes == 0 || len(segments) == 0 {
		return len(segments)
	}
	now, behind := p.m.o.Now(), p.log.SizeFrom(segments[0].baseOffset)
	for i, s := range segments {
		behind -= s.bytes
		old := ms > 0 && agedBy(s, ms, now)
		far := bytes > 0 && behind >= bytes
		late := cfg.MaxTierLagMs > 0 && now.Sub(s.since()).Milliseconds() >= cfg.MaxTierLagMs
		if !old && !far && !late {
			return i
		}
	}
	return len(segments)
}

// agedBy reports whether the segment's newest record is at least ms old. It also returns true if
// the age is unknown or negative: in doubt a segment is uploaded sooner.
func agedBy(s closedSegment, ms int64, now time.Time) bool {
	newest, err := s.newestMs()
	age := now.UnixMilli() - newest
	return err != nil || age < 0 || age >= ms
}

// overdue returns how much longer than varve.tier.max.lag.ms the oldest record that may be uploaded
// has waited. It returns 0 if it has not waited longer, if the topic has no such bound, or if its
// uploads are paused.
func (p *partition) overdue(now time.Time) time.Duration {
	cfg := p.Config()
	if cfg.MaxTierLagMs <= 0 || !cfg.RemoteStorageEnable || cfg.RemoteCopyDisable || cfg.CleanupCompact {
		return 0
	}
	from := p.log.StartOffset()
	if m := p.manifest.Load(); m != nil && m.Sequence > 0 {
		from = max(from, m.EndOffset)
	}
	since := p.log.WaitsSince(from)
	if since.IsZero() {
		return 0
	}
	return max(now.Sub(since)-time.Duration(min(cfg.MaxTierLagMs, maxLagMs))*time.Millisecond, 0)
}

// maxLagMs is longer than any record waits, and does not overflow as a duration.
const maxLagMs = int64(100*365*24*time.Hour) / int64(time.Millisecond)
