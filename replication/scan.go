package replication

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/record"
)

// scanBytes is how much of a log a scan holds in memory; a single batch may be larger.
const scanBytes = 1 << 20

// Scan calls fn with every batch from the start of the log to the end that the log has at the call,
// committed or not, in order. It stops at the first error of fn and returns it. A batch is valid
// until fn returns. Coordinators load their state with it, on the leader.
func (p *Partition) Scan(ctx context.Context, fn func(record.Batch) error) error {
	if _, err := p.leading(-1); err != nil { // check the role before trusting the log end
		return fmt.Errorf("scan %s: %w", p.tp, err)
	}
	end := p.log.EndOffset()
	var buf []byte
	for offset := p.log.StartOffset(); offset < end; {
		result, err := p.Read(ctx, ReadRequest{
			Offset: offset, MaxBytes: scanBytes, MinOne: true, Isolation: ReadLogEnd, CurrentLeaderEpoch: -1, LastFetchedEpoch: -1,
		})
		if errors.Is(err, ErrOffsetOutOfRange) && offset < p.log.StartOffset() {
			offset = p.log.StartOffset() // deleted during the scan
			continue
		}
		if err != nil {
			return fmt.Errorf("scan %s: %w", p.tp, err)
		}
		buf, err = result.Records.AppendTo(buf[:0])
		result.Records.Release()
		if err != nil {
			return fmt.Errorf("scan %s: %w", p.tp, err)
		}
		next, err := scanBatches(buf, offset, end, fn)
		if err != nil {
			return err
		}
		if next == offset {
			return nil // compaction left no batch up to the end
		}
		offset = next
		if err = ctx.Err(); err != nil {
			return fmt.Errorf("scan %s: %w", p.tp, context.Cause(ctx))
		}
	}
	return nil
}

// scanBatches passes the whole batches of a read to fn and returns the offset after the last one. A
// batch that is cut off at the end of buf is left out.
func scanBatches(buf []byte, offset, end int64, fn func(record.Batch) error) (int64, error) {
	for len(buf) > 0 && offset < end {
		batch, rest, err := record.Split(buf)
		if errors.Is(err, record.ErrTruncated) {
			break
		}
		if err != nil {
			return offset, fmt.Errorf("scan at offset %d: %w", offset, err)
		}
		if err = fn(batch); err != nil {
			return offset, err
		}
		offset, buf = batch.NextOffset(), rest
	}
	return offset, nil
}
