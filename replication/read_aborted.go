package replication

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
)

// abortedTxnBytes is the memory that an aborted transaction takes.
const abortedTxnBytes = 32

// addAborted adds the aborted transactions that overlap the batches read for an offset. Their
// markers may be in either tier, wherever the batches are.
func (p *Partition) addAborted(ctx context.Context, offset int64, r *remoteRecords) error {
	end, err := endOf(r.batches)
	if err != nil || end <= offset {
		return err
	}
	if r.aborted, err = p.abortedInBoth(ctx, offset, end); err != nil {
		return fmt.Errorf("look up aborted transactions: %w", err)
	}
	r.held += len(r.aborted) * abortedTxnBytes
	return nil
}

// abortedInBoth lists the aborted transactions of both tiers that overlap the offsets from
// (inclusive) to upTo (exclusive), in the order of their markers.
func (p *Partition) abortedInBoth(ctx context.Context, from, upTo int64) ([]storage.AbortedTxn, error) {
	for {
		border := p.log.LocalStartOffset()
		aborted, decided, err := p.tier.AbortedTransactions(ctx, p.tp, from, upTo, border)
		if err != nil || decided {
			return aborted, err
		}
		local, err := p.log.AbortedTransactions(max(from, border), upTo)
		if err != nil {
			return nil, err
		}
		if p.log.LocalStartOffset() == border {
			return append(aborted, local...), nil
		}
		// Local retention has deleted segments in between: the remote tier has them, so look again.
	}
}

// endOf returns the end offset of the last batch, 0 if there is none.
func endOf(parts [][]byte) (end int64, err error) {
	for _, part := range parts {
		for len(part) > 0 {
			b, rest, err := record.Split(part)
			if err != nil {
				return 0, err
			}
			end, part = b.NextOffset(), rest
		}
	}
	return end, nil
}
