package metadata

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/metadata/kv"
)

// maxPartitionsPerRequest is Kafka's limit for one CreateTopics or CreatePartitions request.
const maxPartitionsPerRequest = 10_000

// TopicSpec is a topic to be created. The caller has filled in the defaults.
type TopicSpec struct {
	Name              string
	Partitions        int32
	ReplicationFactor int16
	// Assignments are the replicas of every partition, by partition number from 0 on. If it is not
	// empty, Partitions and ReplicationFactor are ignored.
	Assignments map[int32][]int32
	// Configs are the topic's settings that differ from the default. The caller has validated them.
	Configs map[string]string
}

// creation is a topic that has passed all checks.
type creation struct {
	name       string
	id         TopicID
	configs    map[string]string
	partitions []Partition
	createdMs  int64
}

// CreateTopics creates topics, each by itself, and returns one result per spec in their order. It
// returns when this broker's image shows them. With validateOnly it checks and changes nothing.
func (a *Admin) CreateTopics(ctx context.Context, specs []TopicSpec, validateOnly bool) []TopicResult {
	image := a.loader.Image()
	results := make([]TopicResult, len(specs))
	creations := make([]*creation, len(specs))
	taken := make(map[string]string, image.TopicCount()+len(specs)) // collision name → name
	for t := range image.Topics() {
		taken[collisionName(t.Name)] = t.Name
	}
	total := 0
	for i, spec := range specs {
		results[i].Name = spec.Name
		c, err := a.prepare(image, taken, spec)
		if err != nil {
			results[i].Err = fmt.Errorf("create topic %q: %w", spec.Name, err)
			continue
		}
		creations[i], taken[collisionName(c.name)] = c, c.name
		total += len(c.partitions)
		results[i].ID = c.id
		results[i].Partitions = int32(len(c.partitions))
		results[i].ReplicationFactor = int16(len(c.partitions[0].Replicas))
	}
	if total > maxPartitionsPerRequest {
		for i := range results {
			results[i].Err = fmt.Errorf("create topic %q: %w", results[i].Name, ErrTooManyPartitions)
		}
		return results
	}
	if validateOnly {
		for i := range results {
			results[i].ID = TopicID{}
		}
		return results
	}
	inParallel(ctx, len(specs), func(ctx context.Context, i int) {
		if creations[i] == nil {
			return
		}
		revision, err := a.create(ctx, creations[i])
		if err == nil {
			_, err = a.loader.WaitRevision(ctx, revision)
		}
		if err != nil {
			results[i].Err = fmt.Errorf("create topic %q: %w", results[i].Name, err)
		}
	})
	return results
}

func topicExists(name string) error { return refuse(ErrTopicExists, "topic '%s' already exists", name) }

// prepare checks a spec and places its partitions.
func (a *Admin) prepare(image *Image, taken map[string]string, spec TopicSpec) (*creation, error) {
	if err := ValidateTopicName(spec.Name); err != nil {
		return nil, err
	}
	if _, exists := image.TopicByName(spec.Name); exists {
		return nil, topicExists(spec.Name)
	}
	if other, ok := taken[collisionName(spec.Name)]; ok {
		if other == spec.Name {
			return nil, refuse(ErrInvalidRequest, "topic '%s' is named twice", spec.Name)
		}
		return nil, refuse(ErrInvalidTopicName, "topic '%s' collides with existing topic: %s", spec.Name, other)
	}
	replicas, err := assign(image, spec)
	if err != nil {
		return nil, err
	}
	c := &creation{name: spec.Name, id: NewTopicID(), configs: spec.Configs, createdMs: a.now().UnixMilli()}
	c.partitions = newPartitions(image, replicas, c.createdMs)
	return c, nil
}

// assign returns the replicas of every partition of a new topic.
func assign(image *Image, spec TopicSpec) ([][]int32, error) {
	if len(spec.Assignments) == 0 {
		if spec.Partitions <= 0 {
			return nil, refuse(ErrInvalidPartitions, "number of partitions must be larger than 0, it is %d", spec.Partitions)
		}
		if spec.Partitions > maxPartitionsPerRequest {
			return nil, refuse(ErrTooManyPartitions, "%d partitions, at most %d", spec.Partitions, maxPartitionsPerRequest)
		}
		return place(image, spec.Partitions, spec.ReplicationFactor, placementStart(spec.Name))
	}
	replicas := make([][]int32, len(spec.Assignments))
	for i := range replicas {
		r, ok := spec.Assignments[int32(i)]
		if !ok {
			return nil, refuse(ErrInvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence, %d is missing", i)
		}
		if err := checkNewAssignment(image, r, len(replicas[0])); err != nil {
			return nil, err
		}
		replicas[i] = slices.Clone(r)
	}
	return replicas, nil
}

// newPartitions returns the first state of partitions. Each has at least one live replica. All its
// live replicas are in sync, and the first of them in the order of the replicas leads.
func newPartitions(image *Image, replicas [][]int32, createdMs int64) []Partition {
	partitions := make([]Partition, len(replicas))
	for i, r := range replicas {
		p := Partition{Replicas: r, createdMs: createdMs}
		var isr []Member
		for _, id := range r {
			if m, live := image.member(id); live {
				isr = append(isr, m)
			}
		}
		p.setISR(isr)
		p.Leader, p.LeaderBrokerEpoch = p.ISR[0], p.ISREpochs[0]
		partitions[i] = p
	}
	return partitions
}

// create writes a topic and returns the revision at which it began to exist.
//
// A topic exists as soon as its name's key exists. If all its keys fit into one transaction, that
// one writes them. If not, the first transaction writes a marker, others in parallel write the
// partitions, and the last one writes the name and removes the marker. All of them compare the
// marker. So does the controller when it removes what a broken creation has left: either the
// creation or the removal succeeds, never both. After a crash before the last transaction the topic
// does not exist, and the marker makes the controller remove its partitions.
func (a *Admin) create(ctx context.Context, c *creation) (int64, error) {
	name := topicKey(c.name)
	topic := kv.Put(name, encode(topicValue{V: valueVersion, ID: c.id, Partitions: int32(len(c.partitions)), CreatedMs: c.createdMs}))
	configs := kv.Delete(topicConfigsPrefix + c.name)
	if len(c.configs) > 0 {
		configs = kv.Put(topicConfigsPrefix+c.name, encode(configsValue{V: valueVersion, Configs: c.configs}))
	}
	chunks := partitionPuts(c.id, 0, c.partitions)
	if len(chunks) == 1 && len(chunks[0])+2 <= kv.MaxTxnOps {
		revision, err := a.store.Txn(ctx, []kv.Comparison{kv.Absent(name)}, append(chunks[0], topic, configs)...)
		if errors.Is(err, kv.ErrConflict) {
			return 0, topicExists(c.name)
		}
		return revision, err
	}

	marker := unfinishedValue{V: valueVersion, Topic: c.name}
	begun, err := a.store.Txn(ctx, []kv.Comparison{kv.Absent(name)}, marker.write(c.id))
	if errors.Is(err, kv.ErrConflict) {
		return 0, topicExists(c.name)
	}
	if err != nil {
		return 0, err
	}
	guard := kv.ModifiedAt(unfinishedKey(c.id), begun)
	if err = a.putChunks(ctx, chunks, guard); err == nil {
		var revision int64
		revision, err = a.store.Txn(ctx, []kv.Comparison{kv.Absent(name), guard}, topic, configs, kv.Delete(guard.Key))
		if err == nil {
			return revision, nil
		}
	}
	if !errors.Is(err, kv.ErrConflict) {
		return 0, err
	}
	a.giveUp(ctx, c.id, marker, guard)
	switch pair, getErr := a.store.Get(ctx, name); {
	case getErr != nil:
		return 0, getErr
	case pair.Exists():
		return 0, topicExists(c.name)
	default:
		return 0, fmt.Errorf("%w: the creation took so long that it was taken for broken off", kv.ErrUnavailable)
	}
}

// partitionPuts returns the writes of partitions, numbered from first on. Each chunk fits into one
// transaction.
func partitionPuts(id TopicID, first int, partitions []Partition) [][]kv.Op {
	ops := make([]kv.Op, len(partitions))
	for i := range partitions {
		ops[i] = kv.Put(partitionKey(id, int32(first+i)), partitions[i].encode())
	}
	return slices.Collect(slices.Chunk(ops, kv.MaxTxnOps))
}

// putChunks writes the chunks in parallel, each under the same comparisons.
func (a *Admin) putChunks(ctx context.Context, chunks [][]kv.Op, guards ...kv.Comparison) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallelTxns)
	for _, ops := range chunks {
		g.Go(func() error {
			_, err := a.store.Txn(ctx, guards, ops...)
			return err
		})
	}
	return g.Wait()
}

// giveUp marks a change as broken after it has conflicted with another one. The controller then
// removes at once what the change has written; without the mark it waits for the grace period.
func (a *Admin) giveUp(ctx context.Context, id TopicID, marker unfinishedValue, guard kv.Comparison) {
	marker.Broken = true
	// A conflict is ignored: the marker has been removed already.
	_, _ = a.store.Txn(ctx, []kv.Comparison{guard}, marker.write(id))
}

// placementStart spreads the first partitions of topics over the brokers.
func placementStart(name string) int {
	h := uint32(2166136261) // FNV-1a
	for _, c := range []byte(name) {
		h = (h ^ uint32(c)) * 16777619
	}
	return int(h & 0xffff)
}
