package catalogue

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
)

// ListTopics returns the topics that the catalogue describes, and the newest revision of each.
func ListTopics(ctx context.Context, b objstore.Bucket, prefix string) (map[metadata.TopicID]int64, error) {
	newest := map[metadata.TopicID]int64{}
	for info, err := range b.List(ctx, format.TopicsPrefix(prefix)) {
		if err != nil {
			return nil, fmt.Errorf("list the topics of the bucket: %w", err)
		}
		if key := format.ParseKey(prefix, info.Key); key.Place == format.PlaceTopic {
			newest[key.TopicID] = max(newest[key.TopicID], key.Revision)
		}
	}
	return newest, nil
}

// TopicID is the identity of a topic, for those who know nothing else of the metadata.
type TopicID = metadata.TopicID

// ParseTopicID reads a topic's id as people write it.
func ParseTopicID(s string) (TopicID, error) { return metadata.ParseTopicID(s) }

// NewestTopic returns what the catalogue says of a topic, nil if it says nothing.
func NewestTopic(ctx context.Context, b objstore.Bucket, prefix string, id TopicID) (*format.Topic, error) {
	newest := int64(-1)
	for info, err := range b.List(ctx, format.TopicPrefix(prefix, id)) {
		if err != nil {
			return nil, fmt.Errorf("list the descriptions of topic %s: %w", id, err)
		}
		newest = max(newest, format.ParseKey(prefix, info.Key).Revision)
	}
	if newest < 0 {
		return nil, nil
	}
	return ReadTopic(ctx, b, prefix, id, newest)
}

// ReadTopic returns a revision of a topic's description, nil if there is none.
func ReadTopic(ctx context.Context, b objstore.Bucket, prefix string, id metadata.TopicID, revision int64) (*format.Topic, error) {
	key := format.TopicKey(prefix, id, revision)
	content, found, err := readDocument(ctx, b, key)
	if err != nil || !found {
		return nil, err
	}
	t, err := format.ParseTopic(content)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return t, nil
}

// WriteTopic writes a revision, unless it is there, and removes those before it. It can be repeated.
func WriteTopic(ctx context.Context, b objstore.Bucket, prefix string, t *format.Topic) error {
	content, err := t.Encode()
	if err != nil {
		return err
	}
	err = writeDocument(ctx, b, format.TopicKey(prefix, t.TopicID, t.Revision), content)
	if err != nil && !errors.Is(err, objstore.ErrExists) { // of one revision there is one state
		return err
	}
	return removeTopic(ctx, b, prefix, t.TopicID, t.Revision)
}

// RemoveTopic removes all that the catalogue says of a topic.
func RemoveTopic(ctx context.Context, b objstore.Bucket, prefix string, id metadata.TopicID) error {
	return removeTopic(ctx, b, prefix, id, -1)
}

// removeTopic removes the revisions before one, -1 for all.
func removeTopic(ctx context.Context, b objstore.Bucket, prefix string, id metadata.TopicID, before int64) error {
	var keys []string
	for info, err := range b.List(ctx, format.TopicPrefix(prefix, id)) {
		if err != nil {
			return fmt.Errorf("list the descriptions of topic %s: %w", id, err)
		}
		if key := format.ParseKey(prefix, info.Key); key.Place == format.PlaceTopic && (before < 0 || key.Revision < before) {
			keys = append(keys, info.Key)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	if err := b.DeleteAll(ctx, keys); err != nil {
		return fmt.Errorf("remove descriptions of topic %s: %w", id, err)
	}
	return nil
}
