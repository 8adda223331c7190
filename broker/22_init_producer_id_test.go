package broker

import (
	"context"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/vfs"
)

func TestInitProducerID(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	seen := map[int64]bool{}
	ask := func(version int16, transactional *string) *kmsg.InitProducerIDResponse {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.SetVersion(version)
		req.TransactionalID = transactional
		return c.exchange(&Request{}, req).(*kmsg.InitProducerIDResponse)
	}
	for version := int16(0); version <= 5; version++ {
		for range 300 { // more than a block
			resp := ask(version, nil)
			if resp.ErrorCode != 0 || resp.ProducerEpoch != 0 || resp.ProducerID < 0 || seen[resp.ProducerID] {
				t.Fatalf("v%d: %+v", version, resp)
			}
			seen[resp.ProducerID] = true
		}
		for _, id := range []string{"", "txn"} {
			if resp := ask(version, &id); resp.ErrorCode != int16(protocol.InvalidRequest) || resp.ProducerID != -1 {
				t.Errorf("v%d, transactional id %q: %+v", version, id, resp)
			}
		}
	}
	c.producerIDs = newProducerIDs(func(context.Context) (metadata.ProducerIDs, error) {
		return metadata.ProducerIDs{}, kv.ErrUnavailable
	})
	for range 2 {
		if resp := ask(5, nil); resp.ErrorCode != int16(protocol.CoordinatorLoadInProgress) || resp.ProducerID != -1 {
			t.Errorf("without metadata: %+v", resp)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	<-c.producerIDs.block
	if _, err := c.producerIDs.next(ctx); err == nil {
		t.Error("a request that has ended got an id")
	}
}

func TestProducerIDsComeFromTheirBlocks(t *testing.T) {
	blocks := []metadata.ProducerIDs{{First: 10, Len: 2}, {First: 100, Len: 1}, {First: 7, Len: 5}}
	ids := newProducerIDs(func(context.Context) (metadata.ProducerIDs, error) {
		block := blocks[0]
		blocks = blocks[1:]
		return block, nil
	})
	for _, want := range []int64{10, 11, 100, 7, 8} {
		if got, err := ids.next(t.Context()); got != want || err != nil {
			t.Errorf("got %d, %v, want %d", got, err, want)
		}
	}
}
