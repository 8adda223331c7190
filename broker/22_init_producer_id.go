package broker

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// InitProducerId gives an idempotent producer its id, with epoch 0. Versions 0-5. An id is never
// given twice in the life of the cluster: brokers take blocks of ids from the metadata store. While
// the store does not answer, the error is COORDINATOR_LOAD_IN_PROGRESS, which producers retry.
//
//   - v3 (KIP-360): the producer may send its current id and epoch; without a transactional id they
//     are ignored.
//   - v4 (KIP-588) and v5 (KIP-890) change only what transactional producers see.
//
// Not implemented: transactions. A transactional id gets INVALID_REQUEST, as from FindCoordinator
// before.
func (b *Broker) initProducerID(ctx context.Context, _ *Request, req *kmsg.InitProducerIDRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if req.TransactionalID != nil {
		resp.ErrorCode = int16(protocol.InvalidRequest)
		return resp
	}
	id, err := b.producerIDs.next(ctx)
	if err != nil {
		b.log.LogAttrs(ctx, slog.LevelWarn, "no producer id to give, clients will ask again", slog.Any("error", err))
		resp.ErrorCode = int16(protocol.CoordinatorLoadInProgress)
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = id, 0
	return resp
}

// producerIDs gives out the ids of this broker's blocks.
type producerIDs struct {
	allocate func(context.Context) (metadata.ProducerIDs, error)
	// holds the rest of the current block; next takes it out and puts it back
	block chan metadata.ProducerIDs
}

func newProducerIDs(allocate func(context.Context) (metadata.ProducerIDs, error)) *producerIDs {
	p := &producerIDs{allocate: allocate, block: make(chan metadata.ProducerIDs, 1)}
	p.block <- metadata.ProducerIDs{}
	return p
}

func (p *producerIDs) next(ctx context.Context) (int64, error) {
	var block metadata.ProducerIDs
	select {
	case block = <-p.block:
	case <-ctx.Done():
		return 0, fmt.Errorf("wait for a block of producer ids: %w", context.Cause(ctx))
	}
	defer func() { p.block <- block }()
	if block.Len <= 0 {
		fresh, err := p.allocate(ctx)
		if err != nil {
			return 0, err
		}
		block = fresh
	}
	id := block.First
	block.First++
	block.Len--
	return id, nil
}
