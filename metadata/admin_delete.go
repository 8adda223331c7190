package metadata

import (
	"context"
	"fmt"

	"github.com/varvelog/varve/metadata/kv"
)

// TopicRef names a topic by id or, if ID is zero, by name.
type TopicRef struct {
	Name string
	ID   TopicID
}

// DeleteTopics deletes topics, each by itself, and returns one result per ref in their order. It
// returns when this broker's image no longer shows them. One transaction deletes a topic's name,
// settings and partitions. Its tier keys stay: the deletion of its objects from the bucket needs
// them.
func (a *Admin) DeleteTopics(ctx context.Context, refs []TopicRef) []TopicResult {
	image := a.loader.Image()
	results := make([]TopicResult, len(refs))
	inParallel(ctx, len(refs), func(ctx context.Context, i int) {
		results[i] = a.deleteTopic(ctx, image, refs[i])
	})
	return results
}

func (a *Admin) deleteTopic(ctx context.Context, image *Image, ref TopicRef) TopicResult {
	result := TopicResult{Name: ref.Name, ID: ref.ID}
	if !ref.ID.IsZero() {
		t, ok := image.TopicByID(ref.ID)
		if !ok {
			result.Err = fmt.Errorf("delete topic %s: %w", ref.ID, ErrUnknownTopicID)
			return result
		}
		result.Name = t.Name
	}
	var revision int64
	err := swap(ctx, "delete topic "+result.Name, func(ctx context.Context) error {
		topic, pair, err := a.topic(ctx, result.Name)
		if err != nil {
			return err
		}
		if !ref.ID.IsZero() && topic.ID != ref.ID {
			return fmt.Errorf("delete topic %s: %w", ref.ID, ErrUnknownTopicID)
		}
		result.ID, result.Partitions = topic.ID, topic.Partitions
		revision, err = a.store.Txn(ctx, []kv.Comparison{kv.ModifiedAt(pair.Key, pair.ModRevision)},
			kv.Delete(pair.Key),
			kv.Delete(topicConfigsPrefix+result.Name),
			kv.Delete(unfinishedKey(topic.ID)), // the marker of an addition
			kv.DeletePrefix(partitionsPrefix+topic.ID.String()+"/"))
		return err
	})
	if err == nil {
		_, err = a.loader.WaitRevision(ctx, revision)
	}
	result.Err = err
	return result
}

// topic reads a topic's key from the store, because the image may be older.
func (a *Admin) topic(ctx context.Context, name string) (topicValue, kv.Pair, error) {
	if err := ValidateTopicName(name); err != nil {
		// For a topic with an invalid name Kafka reports an unknown topic, not an invalid name.
		return topicValue{}, kv.Pair{}, fmt.Errorf("find topic %.300q: %w", name, ErrUnknownTopic)
	}
	pair, err := a.store.Get(ctx, topicKey(name))
	if err != nil {
		return topicValue{}, kv.Pair{}, err
	}
	if !pair.Exists() {
		return topicValue{}, kv.Pair{}, fmt.Errorf("find topic %q: %w", name, ErrUnknownTopic)
	}
	value, err := decode[topicValue](pair)
	return value, pair, err
}
