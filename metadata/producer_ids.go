package metadata

import (
	"context"
	"fmt"
	"math"

	"github.com/varvelog/varve/metadata/kv"
)

// producerIDBlock is the number of producer ids that a broker allocates at once, as in Kafka.
const producerIDBlock = 1000

// ProducerIDs is a block of producer ids that is allocated to one broker.
type ProducerIDs struct {
	First int64
	Len   int32
}

// AllocateProducerIDs allocates the next block. If the reply is lost, so is the block: there are
// enough.
func (a *Admin) AllocateProducerIDs(ctx context.Context) (ProducerIDs, error) {
	var block ProducerIDs
	err := swap(ctx, "allocate producer ids", func(ctx context.Context) error {
		pair, err := a.store.Get(ctx, producerIDsKey)
		if err != nil {
			return err
		}
		value := producerIDsValue{V: valueVersion}
		if pair.Exists() {
			if value, err = decode[producerIDsValue](pair); err != nil {
				return err
			}
		}
		if value.Next < 0 || value.Next > math.MaxInt64-producerIDBlock {
			return fmt.Errorf("the producer ids are used up at %d", value.Next)
		}
		block = ProducerIDs{First: value.Next, Len: producerIDBlock}
		value.Next += producerIDBlock
		_, err = a.store.Txn(ctx, []kv.Comparison{kv.ModifiedAt(producerIDsKey, pair.ModRevision)}, kv.Put(producerIDsKey, encode(value)))
		return err
	})
	if err != nil {
		return ProducerIDs{}, fmt.Errorf("allocate producer ids: %w", err)
	}
	return block, nil
}
