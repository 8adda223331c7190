package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
)

// DeleteTopics deletes topics, each independently. Versions 1-6. Files and objects are deleted
// later.
//
//   - v3 (KIP-322): TOPIC_DELETION_DISABLED if delete.topic.enable is false; INVALID_REQUEST in
//     older versions.
//   - v5 (KIP-599): error messages.
//   - v6 (KIP-516): by name or by id, not both.
//
// Not implemented: authorization, quotas.
func (b *Broker) deleteTopics(ctx context.Context, _ *Request, req *kmsg.DeleteTopicsRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	ctx, cancel := withTimeout(ctx, req.TimeoutMillis)
	defer cancel()
	if req.Version < 6 {
		for i := range req.TopicNames {
			req.Topics = append(req.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &req.TopicNames[i]})
		}
	}
	refs, errs := b.deletions(req)
	valid := make([]metadata.TopicRef, 0, len(refs))
	for i, ref := range refs {
		if errs[i] == nil {
			valid = append(valid, ref)
		}
	}
	var results []metadata.TopicResult
	if len(valid) > 0 {
		results = b.admin.DeleteTopics(ctx, valid)
	}
	for i, ref := range refs {
		answer := kmsg.NewDeleteTopicsResponseTopic()
		answer.Topic, answer.TopicID = req.Topics[i].Topic, ref.ID
		err := errs[i]
		if err == nil {
			if results[0].Name != "" {
				answer.Topic = &results[0].Name
			}
			answer.TopicID, err = results[0].ID, results[0].Err
			results = results[1:]
		}
		answer.ErrorCode, answer.ErrorMessage = b.codeAndMessage(ctx, err)
		resp.Topics = append(resp.Topics, answer)
	}
	return resp
}

// deletions returns the topics that the request names and, topic by topic, what is wrong with each.
func (b *Broker) deletions(req *kmsg.DeleteTopicsRequest) ([]metadata.TopicRef, []error) {
	enabled := b.layers().Broker().Bool("delete.topic.enable")
	image := b.cluster.Image()
	refs := make([]metadata.TopicRef, len(req.Topics))
	errs := make([]error, len(req.Topics))
	count := make(map[metadata.TopicRef]int, len(req.Topics))
	for i, t := range req.Topics {
		named := t.Topic != nil
		identified := t.TopicID != [16]byte{}
		switch {
		case !enabled && req.Version < 3:
			errs[i] = fmt.Errorf("topic deletion is disabled: %w", errInvalidRequest)
		case !enabled:
			errs[i] = errTopicDeletionDisabled
		case named && identified:
			errs[i] = fmt.Errorf("you may not specify both topic name and topic id: %w", errInvalidRequest)
		case !named && !identified:
			errs[i] = fmt.Errorf("neither topic name nor id were specified: %w", errInvalidRequest)
		}
		refs[i].ID = t.TopicID
		if named {
			refs[i].Name = *t.Topic
		}
		key := refs[i] // a name and the id of the same topic are a duplicate as well
		if topic, ok := image.TopicByID(t.TopicID); ok {
			key = metadata.TopicRef{Name: topic.Name}
		}
		count[key]++
	}
	for i := range refs {
		key := refs[i]
		if topic, ok := image.TopicByID(key.ID); ok {
			key = metadata.TopicRef{Name: topic.Name}
		}
		if errs[i] == nil && count[key] > 1 {
			errs[i] = fmt.Errorf("duplicate topic name or id: %w", errInvalidRequest)
		}
	}
	return refs, errs
}
