package storage

import (
	"bytes"
	"fmt"

	"github.com/varvelog/varve/record"
)

// verifyFiles makes the checks of kafka-dump-log on the files of every segment.
func verifyFiles(l *Log) error {
	list := l.list()
	for i, s := range list {
		if s.size.Load() == 0 {
			continue
		}
		byEnd, byPos := map[int64]record.Batch{}, map[int64]record.Batch{}
		err := s.scan(0, s.size.Load(), func(h record.Batch, pos int64) (bool, error) {
			b := record.Batch(bytes.Clone(h))
			byEnd[h.LastOffset()], byPos[pos] = b, b
			return true, nil
		})
		if err != nil {
			return err
		}
		last := int64(-1)
		for k := range s.index.count() {
			e, err := s.index.entry(k)
			if err != nil {
				return err
			}
			offset, pos := s.base+relativeOffset(e[:]), entryPosition(e[:])
			if b, ok := byPos[pos]; !ok || b.LastOffset() != offset || offset <= last {
				return fmt.Errorf("segment %d: index entry %d: offset %d at %d", s.base, k, offset, pos)
			}
			last = offset
		}
		newest := int64(-1)
		for k := range s.times.count() {
			raw, err := s.times.entry(k)
			if err != nil {
				return err
			}
			e := timeEntry(raw[:], s.base)
			if b, ok := byEnd[e.Offset]; !ok || b.MaxTimestamp() != e.Timestamp || e.Timestamp <= newest {
				return fmt.Errorf("segment %d: time index entry %d: %+v", s.base, k, e)
			}
			newest = e.Timestamp
		}
		if i == len(list)-1 {
			continue
		}
		for _, b := range byPos {
			if newestIn(b) > newest {
				return fmt.Errorf("segment %d: last time index entry is %d, a batch has %d", s.base, newest, b.MaxTimestamp())
			}
		}
	}
	return nil
}

// entry returns the i-th entry of an index.
func (x *sparseIndex) entry(i int) (e indexEntry, err error) {
	t := x.tail.Load()
	if i < t.base {
		return e, x.readFile(e[:x.width], i)
	}
	copy(e[:], t.buf[(i-t.base)*x.width:(i-t.base+1)*x.width])
	return e, nil
}
