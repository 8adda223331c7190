package metadata

import (
	"errors"
	"testing"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
)

// TestAlterationsTryAgain: a partition that changes between the image and the write is altered
// nevertheless, based on its new state. A partition that is deleted in between is not.
func TestAlterationsTryAgain(t *testing.T) {
	it := newISRTest(t, 2)
	before := it.partition(t, 0)
	changed := before
	changed.setISR(before.Members()[:2])
	changed.PartitionEpoch++
	store, done := it.store, false
	it.admin.store = &kvtest.HookedStore{Store: store, BeforeTxn: func(int) error {
		if done {
			return nil
		}
		done = true
		_, err := store.Txn(t.Context(), nil, kv.Put(partitionKey(it.topic.ID, 0), changed.encode()), kv.Delete(partitionKey(it.topic.ID, 1)))
		return err
	}}
	errs := it.admin.AlterPartitionReassignments(t.Context(), []Reassignment{
		{TopicPartition: TopicPartition{"a", 0}, Replicas: []int32{2, 1, 3}},
		{TopicPartition: TopicPartition{"a", 1}, Replicas: []int32{2, 1, 3}},
	})
	if errs[0] != nil || !errors.Is(errs[1], ErrUnknownTopic) {
		t.Fatal(errs)
	}
	if p := it.partition(t, 0); p.PartitionEpoch != before.PartitionEpoch+2 || len(p.ISR) != 2 || p.Replicas[0] != 2 {
		t.Errorf("altered: %+v", p)
	}
	// The image shows the change when the call returns.
	if p, _ := it.loader.Image().Partition(TopicPartition{"a", 0}); p.Replicas[0] != 2 {
		t.Errorf("the image has %+v", p)
	}
}

func TestAlterationsGiveUp(t *testing.T) {
	it := newISRTest(t, 1)
	store := it.store
	// Another writer is always faster.
	it.admin.store = &kvtest.HookedStore{Store: store, BeforeTxn: func(int) error {
		p := it.partition(t, 0)
		p.PartitionEpoch++
		_, err := store.Txn(t.Context(), nil, kv.Put(partitionKey(it.topic.ID, 0), p.encode()))
		return err
	}}
	err := it.admin.AlterPartitionReassignments(t.Context(), []Reassignment{{TopicPartition: TopicPartition{"a", 0}, Replicas: []int32{2, 1, 3}}})[0]
	if !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("it ends with %v", err)
	}
}
