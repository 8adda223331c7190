package storage

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/vfs"
)

// Kafka preallocates by lengthening the file, and has to find out after a crash
// where the zeros begin. Here the space is reserved behind the end and the
// file's length stays that of the log: recovery, retention and whoever reads
// the length need not know of it. Directories that come from Kafka may still
// have such a tail; to recovery it is no batch, and is cut off.

// preallocateLocked reserves the disk space of a segment when its first batch
// comes: partitions that nobody writes to take none. A disk that has too little
// refuses the append as any full disk does, and the next append tries again.
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

// trim gives back what the segment has reserved and not used.
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
