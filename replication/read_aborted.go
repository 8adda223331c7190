package replication

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
)

// abortedTxnBytes is what an aborted transaction takes in memory.
const abortedTxnBytes = 32

// addAborted adds the aborted transactions that overlap batches which were read for an offset. The
// markers may be in either tier, whichever the batches are in.
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

// abortedInBoth lists the aborted transactions that overlap the offsets from (inclusive) to upTo
// (exclusive), of both tiers, in the order of their markers.
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
		// Local retention was faster: what it has deleted, the remote tier has.
	}
}

// endOf is the end of the last of some batches, 0 if there is none.
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
