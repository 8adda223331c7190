package tiering

import (
	"time"

	"github.com/varvelog/varve/storage"
)

// ripe is how many of the closed segments, from the first on, are to go up now. As in Kafka (KIP-1241)
// one is if it is old enough by remote.copy.lag.ms, or far enough behind the log's end by
// remote.copy.lag.bytes; and in any case if one of its records has waited for varve.tier.max.lag.ms.
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

// agedBy returns true if the segment's newest record is that old, and if its age is not known or
// makes no sense: what is not certain goes up sooner.
func agedBy(s closedSegment, ms int64, now time.Time) bool {
	newest, err := s.newestMs()
	age := now.UnixMilli() - newest
	return err != nil || age < 0 || age >= ms
}

// overdue is for how much longer than varve.tier.max.lag.ms the oldest record has waited that may go
// up; 0: no longer, or the topic has no such bound, or its uploads are paused.
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

// maxLagMs is more than any record waits, and no overflow.
const maxLagMs = int64(100*365*24*time.Hour) / int64(time.Millisecond)
