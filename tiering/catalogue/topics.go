package catalogue

import (
	"context"
	"errors"
	"fmt"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/format"
)

// ListTopics returns the topics that the catalogue describes, with the newest revision of each.
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

// TopicID is the identity of a topic, for callers that know nothing else of the metadata.
type TopicID = metadata.TopicID

// ParseTopicID parses a topic's id from its text form.
func ParseTopicID(s string) (TopicID, error) { return metadata.ParseTopicID(s) }

// NewestTopic returns the newest description of a topic, or nil if the catalogue has none.
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

// ReadTopic returns a revision of a topic's description, or nil if there is none.
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

// WriteTopic writes a revision, unless it exists, and deletes earlier revisions. It can be
// repeated.
func WriteTopic(ctx context.Context, b objstore.Bucket, prefix string, t *format.Topic) error {
	content, err := t.Encode()
	if err != nil {
		return err
	}
	err = writeDocument(ctx, b, format.TopicKey(prefix, t.TopicID, t.Revision), content)
	if err != nil && !errors.Is(err, objstore.ErrExists) { // one revision has one content
		return err
	}
	return removeTopic(ctx, b, prefix, t.TopicID, t.Revision)
}

// RemoveTopic deletes all descriptions of a topic.
func RemoveTopic(ctx context.Context, b objstore.Bucket, prefix string, id metadata.TopicID) error {
	return removeTopic(ctx, b, prefix, id, -1)
}

// removeTopic deletes the revisions below before, or all if before is -1.
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
