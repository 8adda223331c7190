package storage

import "math"

// cleanable is what compaction could do in a log.
type cleanable struct {
	list       segmentList // the closed segments from the log's first on that may be rewritten
	ends       []int64     // where each of them ends
	dirty      int64       // all below was cleaned
	cleanBytes int64
	dirtyBytes int64
	overdueMs  int64 // how much longer than max.compaction.lag.ms a dirty record has been there
}

// end is where the part ends that may be rewritten.
func (c *cleanable) end() int64 {
	if len(c.ends) == 0 {
		return 0
	}
	return c.ends[len(c.ends)-1]
}

// ratio is the dirty part of what may be rewritten.
func (c *cleanable) ratio() float64 {
	if c.dirtyBytes == 0 {
		return 0
	}
	return float64(c.dirtyBytes) / float64(c.cleanBytes+c.dirtyBytes)
}

// due says that the log's settings want it to be compacted now.
func (c *cleanable) due(cfg *Config) bool {
	return c.dirtyBytes > 0 && (c.overdueMs > 0 || c.ratio() > cfg.MinCleanableDirtyRatio)
}

// cleanable finds the part of the log that may be compacted at a time: closed
// segments, wholly committed, decided and durable (below the last stable offset
// and the recovery point), and no dirty ones with records younger than
// min.compaction.lag.ms.
func (l *Log) cleanable(now int64) (c cleanable, err error) {
	cfg := l.config.Load()
	if !cfg.CleanupCompact || cfg.RemoteStorageEnable {
		return c, nil
	}
	limit := min(l.LastStableOffset(), l.offsets.recovery.Load())
	list := l.list()
	c.dirty = l.cleaning.upTo.Load()
	if start := l.StartOffset(); c.dirty < start || c.dirty > l.EndOffset() {
		c.dirty = start
	}
	for i, s := range list[:len(list)-1] {
		end := list[i+1].base
		if end > limit {
			break
		}
		if end > c.dirty {
			tooYoung, err := l.ageOfDirty(s, cfg, now, &c)
			if err != nil || tooYoung {
				return c, err
			}
			c.dirtyBytes += s.size.Load()
		} else {
			c.cleanBytes += s.size.Load()
		}
		c.list, c.ends = list[:i+1], append(c.ends, end)
	}
	return c, nil
}

// ageOfDirty holds the times of a dirty segment against the topic's bounds.
func (l *Log) ageOfDirty(s *segment, cfg *Config, now int64, c *cleanable) (tooYoung bool, err error) {
	if !s.acquire() {
		return true, nil // deleted meanwhile
	}
	defer s.release()
	if cfg.MinCompactionLagMs > 0 {
		newest, err := s.newestMs()
		if err != nil || newest > now-cfg.MinCompactionLagMs {
			return true, err
		}
	}
	if cfg.MaxCompactionLagMs == math.MaxInt64 {
		return false, nil
	}
	l.mu.Lock()
	if !s.firstKnown {
		l.loadFirstTime(s)
	}
	first := s.firstTime
	l.mu.Unlock()
	if first > 0 && now-first > cfg.MaxCompactionLagMs {
		c.overdueMs = max(c.overdueMs, now-first-cfg.MaxCompactionLagMs)
	}
	return false, nil
}
