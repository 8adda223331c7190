package metadata

import (
	"errors"
	"testing"
)

// TestPartitionsOfATopicThatGoes: a topic that is deleted between the look at it and the write gets no partitions.
func TestPartitionsOfATopicThatGoes(t *testing.T) {
	store := memStore(t)
	c := newCluster(t, store)
	c.register(t, 1)
	c.create(t, TopicSpec{Name: "a", Partitions: 1, ReplicationFactor: 1})
	other := newCluster(t, store)
	c.admin.store = &hookedStore{Store: store, txn: func(n int) error {
		if n > 1 {
			return nil
		}
		return other.admin.DeleteTopics(t.Context(), []TopicRef{{Name: "a"}})[0].Err
	}}
	err := c.admin.CreatePartitions(t.Context(), []PartitionsSpec{{Topic: "a", Count: 3}}, false)[0].Err
	if !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("CreatePartitions = %v", err)
	}
	if left := len(c.keys(t, topicsPrefix)) + len(c.keys(t, partitionsPrefix)); left != 0 {
		t.Errorf("%d keys are left of a deleted topic", left)
	}
}
