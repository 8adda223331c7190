package storage

import (
	"errors"
	"fmt"

	"github.com/varvelog/varve/record"
)

// checker decides whether a client's batches may be appended, as far as that does not depend on the
// log's content. It runs without the log's lock: work that takes CPU time or waits for memory
// delays no other append. append_check.go checks headers and checksums, record_check.go checks
// records.
type checker struct {
	env *env
	cfg *Config
	now int64
}

// check validates batches and returns them in the form that the topic stores.
func (c *checker) check(batches []byte) ([]byte, error) {
	if len(batches) == 0 {
		return nil, fmt.Errorf("%w: no batch", ErrInvalidRecord)
	}
	for rest := batches; len(rest) > 0; {
		b, after, err := record.Split(rest)
		if err != nil {
			return nil, refuse(err)
		}
		if err = c.checkBatch(b); err != nil {
			return nil, err
		}
		rest = after
	}
	stored, err := c.stored(batches)
	if err != nil {
		return nil, err
	}
	if int64(len(stored)) > c.cfg.SegmentBytes {
		return nil, fmt.Errorf("%w: %d bytes, segment.bytes is %d", ErrRecordListTooLarge, len(stored), c.cfg.SegmentBytes)
	}
	return stored, nil
}

// checkProducersLocked checks sequences and epochs against the producer state (idempotence). The
// batches have passed check. If one is a duplicate, the returned AppendInfo is the complete answer.
func (l *Log) checkProducersLocked(cfg *Config, batches []byte) (AppendInfo, error) {
	info := AppendInfo{
		FirstOffset: -1, LastOffset: -1,
		LogAppendTime:  record.NoTimestamp,
		MaxTimestamp:   record.NoTimestamp,
		LogStartOffset: l.offsets.start.Load(),
	}
	var pending map[int64]sequence
	rest := len(batches)
	for b := range eachBatch(batches) {
		rest -= len(b)
		if !b.HasProducer() {
			continue
		}
		dup, isDup, err := l.producers.check(b, pending)
		if err != nil {
			return info, err
		}
		if isDup {
			info.FirstOffset, info.LastOffset = dup.firstOffset(), dup.lastOffset
			info.MaxTimestamp, info.Duplicate = dup.timestamp, true
			if cfg.TimestampType == LogAppendTime {
				info.LogAppendTime = dup.timestamp
			}
			return info, nil
		}
		if rest == 0 {
			break
		}
		if pending == nil {
			pending = map[int64]sequence{}
		}
		pending[b.ProducerID()] = sequence{b.ProducerEpoch(), b.LastSequence()}
	}
	return info, nil
}

func (c *checker) checkBatch(b record.Batch) error {
	if int64(len(b)) > c.cfg.MaxMessageBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrRecordTooLarge, len(b), c.cfg.MaxMessageBytes)
	}
	check := b.Check
	if c.surveys(b) {
		check = b.CheckHeader // inspect verifies the checksum
	}
	if err := check(); err != nil {
		return refuse(err)
	}
	switch {
	case b.BaseOffset() != 0:
		return fmt.Errorf("%w: base offset is %d, want 0", ErrInvalidRecord, b.BaseOffset())
	case b.Count() <= 0:
		return fmt.Errorf("%w: record count is %d", ErrInvalidRecord, b.Count())
	case int64(b.Count()) != int64(b.LastOffsetDelta())+1:
		return fmt.Errorf("%w: %d records, last offset delta %d", ErrInvalidRecord, b.Count(), b.LastOffsetDelta())
	case b.IsControl():
		return fmt.Errorf("%w: clients may not write control records", ErrInvalidRecord)
	case b.HasDeleteHorizon():
		return fmt.Errorf("%w: clients may not set a delete horizon", ErrInvalidRecord)
	case b.HasProducer() && (b.BaseSequence() < 0 || b.ProducerEpoch() < 0):
		return fmt.Errorf("%w: producer %d with epoch %d and sequence %d", ErrInvalidRecord, b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	case b.IsTransactional() && !b.HasProducer():
		return fmt.Errorf("%w: a transactional batch without a producer id", ErrInvalidRecord)
	}
	if b.IsLogAppendTime() {
		return fmt.Errorf("%w: a producer may not set LogAppendTime", ErrInvalidTimestamp)
	}
	return nil
}

// checkTimestamp checks a producer's timestamp against the topic's limits. With LogAppendTime any
// timestamp is accepted, because it will be replaced.
func (c *checker) checkTimestamp(ts int64) error {
	switch {
	case c.cfg.TimestampType == LogAppendTime || ts == record.NoTimestamp:
	case ts < record.NoTimestamp:
		return fmt.Errorf("%w: %d", ErrInvalidTimestamp, ts)
	case c.now-ts > c.cfg.TimestampBeforeMaxMs:
		return fmt.Errorf("%w: %d is more than %d ms before %d", ErrInvalidTimestamp, ts, c.cfg.TimestampBeforeMaxMs, c.now)
	case ts-c.now > c.cfg.TimestampAfterMaxMs:
		return fmt.Errorf("%w: %d is more than %d ms after %d", ErrInvalidTimestamp, ts, c.cfg.TimestampAfterMaxMs, c.now)
	}
	return nil
}

// refuse wraps an error of package record in the error class that callers of Append look for.
func refuse(err error) error {
	if errors.Is(err, record.ErrMagic) {
		return fmt.Errorf("%w: %w", ErrUnsupportedMagic, err)
	}
	return fmt.Errorf("%w: %w", ErrCorruptRecord, err)
}
