package metadata

import (
	"errors"
	"testing"

	"github.com/varvelog/varve/metadata/kv/kvtest"
)

// TestPartitionsOfATopicThatGoes: a topic that is deleted between the read and the write gets no
// partitions.
func TestPartitionsOfATopicThatGoes(t *testing.T) {
	store := kvtest.Open(t)
	c := newCluster(t, store)
	c.register(t, 1)
	c.create(t, TopicSpec{Name: "a", Partitions: 1, ReplicationFactor: 1})
	other := newCluster(t, store)
	c.admin.store = &kvtest.HookedStore{Store: store, BeforeTxn: func(n int) error {
		if n > 1 {
			return nil
		}
		return other.admin.DeleteTopics(t.Context(), []TopicRef{{Name: "a"}})[0].Err
	}}
	err := c.admin.CreatePartitions(t.Context(), []PartitionsSpec{{Topic: "a", Count: 3}}, false)[0].Err
	if !errors.Is(err, ErrUnknownTopic) {
		t.Errorf("CreatePartitions = %v", err)
	}
	if left := len(kvtest.Keys(t, c.store, topicsPrefix)) + len(kvtest.Keys(t, c.store, partitionsPrefix)); left != 0 {
		t.Errorf("%d keys are left of a deleted topic", left)
	}
}
