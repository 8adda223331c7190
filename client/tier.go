package client

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// Unknown stands for a number that the broker does not report.
const Unknown int64 = -1

// TierPartition describes where a partition's log is on the two tiers. Ends are exclusive. A number
// is Unknown if the broker does not report it. Brokers other than Varve's never report the bytes
// and segments of the remote tier.
type TierPartition struct {
	Topic     string
	Partition int32
	Tiered    bool // the topic has remote.storage.enable

	LogStart   int64
	LocalStart int64
	RemoteEnd  int64 // LogStart if the remote tier is empty
	End        int64 // the high watermark

	LocalBytes     int64
	RemoteBytes    int64
	RemoteSegments int64
	// PendingSegments are closed and wait for their upload; PendingBytes are their bytes.
	PendingSegments, PendingBytes int64
	LastUpload                    int64 // unix ms

	Problems []TierProblem // of all its replicas
	// State is the state of the leader's remote tier: active, paused (remote.log.copy.disable),
	// attaching (not yet), deposed (another leader has it), or read-only (a newer version has
	// written data that this one must not change). It is "" if the broker does not report it.
	State string
}

// Lag returns how many records are not in the remote tier, including those of the active segment.
// It is Unknown if the topic is not tiered.
func (p *TierPartition) Lag() int64 {
	if !p.Tiered || p.RemoteEnd == Unknown || p.End == Unknown {
		return Unknown
	}
	return max(p.End-max(p.RemoteEnd, p.LogStart), 0)
}

// TierStatus describes the tiers of the named topics, or of all that are not internal if none is
// named, by topic and partition.
func (c *Client) TierStatus(ctx context.Context, names ...string) ([]TierPartition, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	topics, notFound := c.Topics(ctx, names...)
	if len(names) == 0 {
		topics = slices.DeleteFunc(topics, func(t Topic) bool { return t.Internal })
	}
	if len(topics) == 0 {
		return nil, notFound
	}
	found := make([]string, len(topics))
	leaders := map[string]map[int32]int32{}
	for i, t := range topics {
		found[i] = t.Name
		leaders[t.Name] = map[int32]int32{}
		for _, p := range t.Partitions {
			leaders[t.Name][p.ID] = p.Leader
		}
	}

	listings := [4]kadm.ListedOffsets{}
	var failed []error
	for i, list := range []func(context.Context, ...string) (kadm.ListedOffsets, error){
		c.admin.ListStartOffsets, c.admin.ListLocalLogStartOffsets, c.admin.ListLatestRemoteOffsets, c.admin.ListEndOffsets,
	} {
		listed, err := list(ctx, found...)
		if required := i == 0 || i == 3; required && err != nil {
			failed = append(failed, c.Explain(err))
		}
		listings[i] = listed // missing offsets are Unknown
	}
	sizes, err := c.logDirs(ctx, leaders)
	failed = append(failed, c.Explain(err))
	tiered, err := c.tieredTopics(ctx, found)
	failed = append(failed, err)

	var all []TierPartition
	for topic, partitions := range leaders {
		for partition := range partitions {
			p := sizes[TopicPartition{topic, partition}]
			p.Topic, p.Partition, p.Tiered = topic, partition, tiered[topic]
			p.setOffsets(listings)
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b TierPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return all, errors.Join(notFound, errors.Join(failed...))
}

func (p *TierPartition) setOffsets(listings [4]kadm.ListedOffsets) {
	at := func(i int) (int64, bool) {
		o, ok := listings[i].Lookup(p.Topic, p.Partition)
		return o.Offset, ok && o.Err == nil
	}
	for i, field := range []*int64{&p.LogStart, &p.LocalStart, &p.RemoteEnd, &p.End} {
		offset, ok := at(i)
		if !ok {
			offset = Unknown
		}
		*field = offset
	}
	// Timestamp -5 returns the last offset in the remote tier, or -1 if it is empty.
	if last, ok := at(2); ok {
		p.RemoteEnd = max(last+1, p.LogStart)
	}
}

// tieredTopics returns which topics have a remote tier.
func (c *Client) tieredTopics(ctx context.Context, names []string) (map[string]bool, error) {
	resources, err := c.TopicConfigs(ctx, names...)
	tiered := map[string]bool{}
	for _, r := range resources {
		tiered[r.Name] = slices.ContainsFunc(r.Configs, func(c Config) bool {
			return c.Name == "remote.storage.enable" && c.Value == "true"
		})
	}
	return tiered, err
}

// logDirs asks all brokers for sizes, and takes each partition's from its leader, which uploads.
// The map has an entry for every partition, so that the numbers of a partition without an answer
// are Unknown.
func (c *Client) logDirs(ctx context.Context, leaders map[string]map[int32]int32) (map[TopicPartition]TierPartition, error) {
	request := kmsg.NewPtrDescribeLogDirsRequest()
	sizes := map[TopicPartition]TierPartition{}
	for topic, partitions := range leaders {
		t := kmsg.NewDescribeLogDirsRequestTopic()
		t.Topic = topic
		for partition := range partitions {
			t.Partitions = append(t.Partitions, partition)
			sizes[TopicPartition{topic, partition}] = TierPartition{
				LocalBytes: Unknown, RemoteBytes: Unknown, RemoteSegments: Unknown, PendingSegments: Unknown, PendingBytes: Unknown, LastUpload: Unknown,
			}
		}
		slices.Sort(t.Partitions)
		request.Topics = append(request.Topics, t)
	}
	var failed []error
	var problems []TierProblem
	for _, shard := range c.kafka.RequestSharded(ctx, request) {
		if shard.Err != nil {
			failed = append(failed, shard.Err)
			continue
		}
		takeSizes(sizes, leaders, shard)
		problems = append(problems, tierProblems(shard)...)
	}
	sortTierProblems(problems)
	for _, p := range problems {
		key := TopicPartition{p.Topic, p.Partition}
		if size, asked := sizes[key]; asked {
			size.Problems = append(size.Problems, p)
			sizes[key] = size
		}
	}
	return sizes, errors.Join(failed...)
}

func takeSizes(sizes map[TopicPartition]TierPartition, leaders map[string]map[int32]int32, shard kgo.ResponseShard) {
	response, ok := shard.Resp.(*kmsg.DescribeLogDirsResponse)
	if !ok {
		return
	}
	for _, dir := range response.Dirs {
		for _, topic := range dir.Topics {
			for i := range topic.Partitions {
				p := &topic.Partitions[i]
				if p.IsFuture || leaders[topic.Topic][p.Partition] != shard.Meta.NodeID {
					continue
				}
				key := TopicPartition{topic.Topic, p.Partition}
				size := sizes[key]
				size.LocalBytes = p.Size
				if stats, known := protocol.ReadTierStats(&p.UnknownTags); known {
					size.RemoteBytes, size.RemoteSegments = stats.RemoteBytes, int64(stats.RemoteSegments)
					size.PendingSegments, size.PendingBytes = int64(stats.PendingSegments), stats.PendingBytes
					// from an older broker
					if stats.PendingSegments == 0 && stats.PendingBytes > 0 {
						size.PendingSegments = Unknown
					}
					size.LastUpload, size.State = stats.LastUpload, stats.State
				}
				sizes[key] = size
			}
		}
	}
}
