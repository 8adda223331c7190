package metadata

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/varvelog/varve/metadata/kv"
)

// PartitionsSpec raises the number of partitions of a topic.
type PartitionsSpec struct {
	Topic string
	Count int32 // the number of partitions after the call
	// Assignments are the replicas of the new partitions; nil: placement decides.
	Assignments [][]int32
}

// CreatePartitions adds partitions to topics, each by itself, and returns one result per spec in
// their order. It returns when this broker's image shows them. With validateOnly it checks and
// changes nothing.
func (a *Admin) CreatePartitions(ctx context.Context, specs []PartitionsSpec, validateOnly bool) []TopicResult {
	results := make([]TopicResult, len(specs))
	inParallel(ctx, len(specs), func(ctx context.Context, i int) {
		result := TopicResult{Name: specs[i].Topic}
		var revision int64
		err := swap(ctx, "add partitions to "+specs[i].Topic, func(ctx context.Context) (err error) {
			revision, err = a.addPartitions(ctx, specs[i], validateOnly, &result)
			return err
		})
		if err == nil && !validateOnly {
			_, err = a.loader.WaitRevision(ctx, revision)
		}
		result.Err = err
		results[i] = result
	})
	return results
}

// addPartitions writes the new partitions' keys, and their number in the topic's key. All
// transactions compare the revision of the topic's key, so that two such calls, or a deletion,
// cannot mix.
func (a *Admin) addPartitions(ctx context.Context, spec PartitionsSpec, validateOnly bool, result *TopicResult) (int64, error) {
	topic, pair, err := a.topic(ctx, spec.Topic)
	if err != nil {
		return 0, err
	}
	image, err := a.loader.WaitRevision(ctx, pair.ModRevision)
	if err != nil {
		return 0, err
	}
	known, ok := image.TopicByID(topic.ID)
	if !ok || len(known.Partitions) == 0 {
		return 0, fmt.Errorf("find topic %q: %w", spec.Topic, ErrUnknownTopic)
	}
	replicas, err := assignMore(image, known, topic.Partitions, spec)
	if err != nil {
		return 0, fmt.Errorf("add partitions to topic %q: %w", spec.Topic, err)
	}
	result.ID, result.Partitions, result.ReplicationFactor = topic.ID, spec.Count, int16(len(replicas[0]))
	if validateOnly {
		return 0, nil
	}
	guard := kv.ModifiedAt(pair.Key, pair.ModRevision)
	chunks := partitionPuts(topic.ID, int(topic.Partitions), newPartitions(image, replicas, a.now().UnixMilli()))
	marker := unfinishedValue{V: valueVersion, Topic: spec.Topic, First: topic.Partitions}
	topic.Partitions = spec.Count
	grown := kv.Put(pair.Key, encode(topic))
	if len(chunks) == 1 && len(chunks[0]) < kv.MaxTxnOps {
		return a.store.Txn(ctx, []kv.Comparison{guard}, append(chunks[0], grown)...)
	}
	return a.addInSteps(ctx, topic.ID, marker, guard, chunks, grown)
}

// addInSteps adds partitions that do not fit into one transaction. It writes a marker, then the
// partitions, then the topic's key; that last transaction removes the marker. If a marker exists
// already, another addition is in progress: this one returns ErrConflict and is retried.
func (a *Admin) addInSteps(ctx context.Context, id TopicID, marker unfinishedValue, topic kv.Comparison, chunks [][]kv.Op, grown kv.Op) (int64, error) {
	begun, err := a.store.Txn(ctx, []kv.Comparison{topic, kv.Absent(unfinishedKey(id))}, marker.write(id))
	if err != nil {
		return 0, err
	}
	guard := kv.ModifiedAt(unfinishedKey(id), begun)
	var revision int64
	if err = a.putChunks(ctx, chunks, topic, guard); err == nil {
		revision, err = a.store.Txn(ctx, []kv.Comparison{topic, guard}, grown, kv.Delete(guard.Key))
	}
	if errors.Is(err, kv.ErrConflict) {
		a.giveUp(ctx, id, marker, guard)
	}
	return revision, err
}

// assignMore returns the replicas of the partitions that are to be added.
func assignMore(image *Image, topic *Topic, current int32, spec PartitionsSpec) ([][]int32, error) {
	more := spec.Count - current
	switch {
	case spec.Count < current:
		return nil, refuse(ErrInvalidPartitions, "the topic %s currently has %d partition(s); %d would not be an increase", spec.Topic, current, spec.Count)
	case more == 0:
		return nil, refuse(ErrInvalidPartitions, "topic already has %d partition(s)", current)
	case more > maxPartitionsPerRequest || spec.Count > maxPartitions:
		return nil, refuse(ErrTooManyPartitions, "%d more partitions", more)
	}
	factor := len(topic.Partitions[0].Replicas)
	if spec.Assignments == nil {
		return place(image, more, int16(factor), placementStart(spec.Topic)+int(current))
	}
	if len(spec.Assignments) != int(more) {
		return nil, fmt.Errorf("%w: attempted to add %d additional partition(s), but only %d assignment(s) were specified",
			ErrInvalidReplicaAssignment, more, len(spec.Assignments))
	}
	replicas := make([][]int32, len(spec.Assignments))
	for i, r := range spec.Assignments {
		if err := checkNewAssignment(image, r, factor); err != nil {
			return nil, err
		}
		replicas[i] = slices.Clone(r)
	}
	return replicas, nil
}
