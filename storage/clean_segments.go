package storage

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/varvelog/varve/record"
)

// cleanGroup is a run of closed segments that compaction merges into one.
type cleanGroup struct {
	segments segmentList
	end      int64 // end offset of the last segment, exclusive
}

// groups divides the segments up to the map's latest offset into runs. A run as a whole is no
// larger than one segment may be, so that segments which compaction has made small are merged.
func (c *cleaning) groups() []cleanGroup {
	var groups []cleanGroup
	var bytes, index, times int64
	for i, s := range c.part.list {
		if s.base > c.keys.latest {
			break
		}
		size, n, m := s.size.Load(), int64(s.index.count())*offsetEntrySize, int64(s.times.count())*timeEntrySize
		bytes, index, times = bytes+size, index+n, times+m
		fits := len(groups) > 0 && bytes <= c.cfg.SegmentBytes && index <= c.cfg.SegmentIndexBytes && times <= c.cfg.SegmentIndexBytes &&
			c.part.ends[i]-1-groups[len(groups)-1].segments[0].base <= math.MaxInt32
		if !fits {
			groups = append(groups, cleanGroup{})
			bytes, index, times = size, n, m
		}
		g := &groups[len(groups)-1]
		g.segments, g.end = append(g.segments, s), c.part.ends[i]
	}
	return groups
}

// rewrite is the second pass over a group: it writes what is kept of the group's batches to
// .cleaned files and makes them durable. On an error it removes the files.
func (c *cleaning) rewrite(ctx context.Context, g cleanGroup) (*segment, error) {
	l := c.log
	made := l.env.newSegment(l.path(), g.segments[0].base, &c.cfg, l.env.now())
	made.names.suffix = suffixCleaned
	l.mu.Lock()
	c.filter.producers = l.lastRecordsLocked()
	l.mu.Unlock()
	c.filter.txns.retain = made.txns.append
	err := made.createFile()
	for i := 0; i < len(g.segments) && err == nil; i++ {
		err = c.copyFrom(ctx, g, i, made)
	}
	if err == nil {
		err = c.writeOut(ctx, made)
	}
	if err == nil {
		err = c.finish(ctx, made, g.end)
	}
	if err != nil {
		made.closeFiles()
		return nil, errors.Join(err, made.removeFiles(l.env.fs))
	}
	return made, nil
}

// copyFrom appends what is kept of the group's i-th segment.
func (c *cleaning) copyFrom(ctx context.Context, g cleanGroup, i int, made *segment) error {
	s := g.segments[i]
	end := g.end
	if i+1 < len(g.segments) {
		end = g.segments[i+1].base
	}
	aborted, err := c.log.AbortedTransactions(s.base, end)
	if err != nil {
		return err
	}
	c.filter.txns.enter(aborted)
	return c.eachBatch(ctx, s, s.base, func(b record.Batch, last bool) (_ bool, err error) {
		// The end of the replaced segments must be visible in the new file: recovery assumes that a
		// segment which ends early has lost data (S9).
		endsGroup := last && i == len(g.segments)-1
		at := len(c.out)
		if c.out, err = c.filter.apply(c.out, b, endsGroup); err != nil || len(c.out) == at {
			return true, err
		}
		made.note(record.Batch(c.out[at:]), made.size.Load()+int64(at))
		made.end.Store(b.NextOffset())
		if len(c.out) >= len(c.window) {
			return true, c.writeOut(ctx, made)
		}
		return true, nil
	})
}

// writeOut writes the buffer to the new segment. The size is never more than an index position can
// hold, and the disk's reserve stays free.
func (c *cleaning) writeOut(ctx context.Context, made *segment) error {
	n := int64(len(c.out))
	if n == 0 {
		return nil
	}
	if made.size.Load()+n > math.MaxInt32 {
		return fmt.Errorf("segment %d would be larger than %d bytes", made.base, math.MaxInt32)
	}
	if err := c.log.dir().room.take(n); err != nil {
		return err
	}
	err, broken := made.write(c.out)
	if err != nil {
		return errors.Join(err, broken)
	}
	made.size.Add(n)
	c.written += n
	c.out = c.out[:0]
	if cap(c.out) > largestSpare {
		c.out = nil
	}
	return c.share.pace.wait(ctx, int(n))
}

// finish brings the new segment to the state of a closed one, durably: swap relies on that.
func (c *cleaning) finish(ctx context.Context, made *segment, end int64) error {
	if err := made.seal(); err != nil {
		return fmt.Errorf("write indexes of segment %d: %w", made.base, err)
	}
	if ctx.Err() != nil {
		// Before the fsync: the caller that aborts the cleaning has to wait for it.
		return context.Cause(ctx)
	}
	size := made.size.Load()
	if err := c.log.syncSegment(flushSegment{s: made, size: size, closed: true}); err != nil {
		if passing(err) {
			return classify(err)
		}
		c.log.dir().fail(err)
		return c.log.dir().err()
	}
	made.index.releaseTail()
	made.times.releaseTail()
	made.end.Store(end)
	made.synced, made.indexDurable = size, true
	return nil
}
