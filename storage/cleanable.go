package storage

import "math"

// cleanable describes what compaction could do in a log.
type cleanable struct {
	// list has the closed segments that may be rewritten, from the log's first one on.
	list       segmentList
	ends       []int64 // end offset of each of them, exclusive
	dirty      int64   // all below this offset was cleaned
	cleanBytes int64
	dirtyBytes int64
	overdueMs  int64 // how much longer than max.compaction.lag.ms a dirty record has waited
}

// end returns the end of the part that may be rewritten; 0 if there is none.
func (c *cleanable) end() int64 {
	if len(c.ends) == 0 {
		return 0
	}
	return c.ends[len(c.ends)-1]
}

// ratio returns the dirty bytes as a fraction of the bytes that may be rewritten.
func (c *cleanable) ratio() float64 {
	if c.dirtyBytes == 0 {
		return 0
	}
	return float64(c.dirtyBytes) / float64(c.cleanBytes+c.dirtyBytes)
}

// due reports whether the log's settings ask for a compaction now.
func (c *cleanable) due(cfg *Config) bool {
	return c.dirtyBytes > 0 && (c.overdueMs > 0 || c.ratio() > cfg.MinCleanableDirtyRatio)
}

// cleanable finds the part of the log that may be compacted at the time now, in ms. These are
// closed segments that are committed, decided and durable as a whole: below the last stable offset
// and the recovery point (S8). A dirty segment with records younger than min.compaction.lag.ms ends
// the part.
func (l *Log) cleanable(now int64) (c cleanable, err error) {
	cfg := l.config.Load()
	if !cfg.CleanupCompact || cfg.RemoteStorageEnable {
		return c, nil
	}
	limit := min(l.LastStableOffset(), l.offsets.recovery.Load())
	list := l.list()
	// The checkpoint of the clean part is a hint. An impossible value means that all is dirty.
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

// ageOfDirty compares the timestamps of a dirty segment with the topic's limits.
func (l *Log) ageOfDirty(s *segment, cfg *Config, now int64, c *cleanable) (tooYoung bool, err error) {
	if !s.acquire() {
		return true, nil // deleted concurrently
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
