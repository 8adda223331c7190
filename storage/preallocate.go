package storage

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/vfs"
)

// Kafka preallocates by extending the file, and after a crash has to find out where the zeros
// begin. Varve reserves space beyond the end of the file, whose length stays that of the log:
// recovery, retention and other users of the length are not affected. Directories taken over from
// Kafka may have such a tail of zeros; recovery finds no batch there and cuts it off.

// preallocateLocked reserves the disk space of a segment before its first batch, so that partitions
// without appends take none. A disk with too little space refuses the append like any full disk,
// and the next append tries again.
func (l *Log) preallocateLocked(s *segment) error {
	cfg := l.config.Load()
	if !cfg.Preallocate || s.size.Load() > 0 {
		return nil
	}
	if err := l.dir().room.take(cfg.SegmentBytes); err != nil {
		return err
	}
	f, err := s.file.acquire(true)
	if err != nil {
		return err
	}
	defer s.file.release()
	switch err = vfs.Preallocate(f, cfg.SegmentBytes); {
	case err == nil:
		s.preallocated = true
	case errors.Is(err, errors.ErrUnsupported):
		l.logger.Debug("the volume cannot reserve space for a segment, which grows as it is written", segmentAttr(s))
	default:
		return errors.Join(fmt.Errorf("preallocate %d bytes for segment %d: %w", cfg.SegmentBytes, s.base, err), f.Truncate(0))
	}
	return nil
}

// trim gives back the reserved space that the segment has not used.
func (s *segment) trim() error {
	if !s.preallocated {
		return nil
	}
	f, err := s.file.acquire(false)
	if err != nil {
		return err
	}
	defer s.file.release()
	if err = f.Truncate(s.size.Load()); err == nil {
		s.preallocated = false
	}
	return err
}
