package client

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// listOffsets answers with one offset for each special timestamp, or an error code.
func listOffsets(at map[int64]int64, codes map[int64]int16) func(kmsg.Request) kmsg.Response {
	return func(r kmsg.Request) kmsg.Response {
		request, ok := r.(*kmsg.ListOffsetsRequest)
		if !ok {
			return nil
		}
		response := kmsg.NewPtrListOffsetsResponse()
		for _, topic := range request.Topics {
			t := kmsg.NewListOffsetsResponseTopic()
			t.Topic = topic.Topic
			for _, partition := range topic.Partitions {
				p := kmsg.NewListOffsetsResponseTopicPartition()
				p.Partition, p.Offset, p.ErrorCode = partition.Partition, at[partition.Timestamp], codes[partition.Timestamp]
				t.Partitions = append(t.Partitions, p)
			}
			response.Topics = append(response.Topics, t)
		}
		return response
	}
}

// logDirs answers with a size, and with statistics if they are given.
func logDirs(stats *protocol.TierStats) func(kmsg.Request) kmsg.Response {
	return func(r kmsg.Request) kmsg.Response {
		request, ok := r.(*kmsg.DescribeLogDirsRequest)
		if !ok {
			return nil
		}
		response := kmsg.NewPtrDescribeLogDirsResponse()
		dir := kmsg.NewDescribeLogDirsResponseDir()
		for _, topic := range request.Topics {
			t := kmsg.NewDescribeLogDirsResponseDirTopic()
			t.Topic = topic.Topic
			for _, partition := range topic.Partitions {
				p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
				p.Partition, p.Size = partition, 1000
				if stats != nil {
					stats.Tags(&p.UnknownTags)
				}
				future := p
				future.IsFuture, future.Size = true, 5
				t.Partitions = append(t.Partitions, p, future)
			}
			dir.Topics = append(dir.Topics, t)
		}
		response.Dirs = append(response.Dirs, dir)
		return response
	}
}

func topicConfigs(values map[string]string) func(kmsg.Request) kmsg.Response {
	return func(r kmsg.Request) kmsg.Response {
		request, ok := r.(*kmsg.DescribeConfigsRequest)
		if !ok {
			return nil
		}
		response := kmsg.NewPtrDescribeConfigsResponse()
		for _, resource := range request.Resources {
			described := kmsg.NewDescribeConfigsResponseResource()
			described.ResourceType, described.ResourceName = resource.ResourceType, resource.ResourceName
			for name, value := range values {
				config := kmsg.NewDescribeConfigsResponseResourceConfig()
				config.Name, config.Value, config.Source = name, &value, kmsg.ConfigSourceDynamicTopicConfig
				described.Configs = append(described.Configs, config)
			}
			response.Resources = append(response.Resources, described)
		}
		return response
	}
}

var tieredConfig = map[string]string{"remote.storage.enable": "true"}

func TestTierStatusOfVarve(t *testing.T) {
	stats := protocol.TierStats{RemoteBytes: 5000, RemoteSegments: 7, PendingSegments: 2, PendingBytes: 30, LastUpload: 1_700_000_000_000, State: "read-only"}
	f := newFakeBroker(t, map[string]int{"a": 2, "__internal": 1},
		listOffsets(map[int64]int64{-1: 100, -2: 10, -4: 70, -5: 89}, nil), logDirs(&stats), topicConfigs(tieredConfig))
	got, err := connect(t, f.addr).TierStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	row := TierPartition{
		Topic: "a", Tiered: true, LogStart: 10, LocalStart: 70, RemoteEnd: 90, End: 100,
		LocalBytes: 1000, RemoteBytes: 5000, RemoteSegments: 7, PendingSegments: 2, PendingBytes: 30, LastUpload: 1_700_000_000_000, State: "read-only",
	}
	second := row
	second.Partition = 1
	if want := []TierPartition{row, second}; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got[0].Lag() != 10 {
		t.Errorf("lag is %d, want 10", got[0].Lag())
	}
}

// TestTierStatusOfOthers: a broker that is not Varve's reports the ranges, and the rest is unknown.
// An older one does not even have the tiers' timestamps.
func TestTierStatusOfOthers(t *testing.T) {
	f := newFakeBroker(t, map[string]int{"a": 1}, listOffsets(map[int64]int64{-1: 100, -4: 0, -5: -1}, nil), logDirs(nil), topicConfigs(tieredConfig))
	got, err := connect(t, f.addr).TierStatus(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	want := TierPartition{
		Topic: "a", Tiered: true, End: 100, LocalBytes: 1000,
		RemoteBytes: Unknown, RemoteSegments: Unknown, PendingSegments: Unknown, PendingBytes: Unknown, LastUpload: Unknown,
	}
	if !reflect.DeepEqual(got[0], want) || got[0].Lag() != 100 {
		t.Errorf("got  %+v, lag %d\nwant %+v", got[0], got[0].Lag(), want)
	}

	const unsupported = 35
	f = newFakeBroker(t, map[string]int{"a": 1}, listOffsets(map[int64]int64{-1: 100}, map[int64]int16{-4: unsupported, -5: unsupported}),
		logDirs(nil), topicConfigs(nil))
	got, err = connect(t, f.addr).TierStatus(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	want.Tiered, want.LocalStart, want.RemoteEnd = false, Unknown, Unknown
	if !reflect.DeepEqual(got[0], want) || got[0].Lag() != Unknown {
		t.Errorf("got  %+v, lag %d\nwant %+v", got[0], got[0].Lag(), want)
	}
}

// TestNoLagWithoutRemoteTier: a topic without a remote tier has no lag.
func TestNoLagWithoutRemoteTier(t *testing.T) {
	p := TierPartition{Tiered: true, LogStart: 5, RemoteEnd: 5, End: 20}
	if p.Lag() != 15 {
		t.Errorf("lag is %d, want 15", p.Lag())
	}
	p.Tiered = false
	if p.Lag() != Unknown {
		t.Errorf("lag is %d, want unknown", p.Lag())
	}
}

func TestTierStatusAnswersForTheTopicsThatExist(t *testing.T) {
	f := newFakeBroker(t, map[string]int{"a": 1}, listOffsets(nil, nil), logDirs(nil), topicConfigs(nil))
	got, err := connect(t, f.addr).TierStatus(t.Context(), "a", "nope")
	if len(got) != 1 || err == nil || !strings.Contains(err.Error(), "topic nope: it does not exist") {
		t.Errorf("got %+v, %v", got, err)
	}
}

// damagedLogs answers with a problem of a partition on each of its replicas.
func damagedLogs(topics map[string][]int32) func(kmsg.Request) kmsg.Response {
	return func(r kmsg.Request) kmsg.Response {
		request, ok := r.(*kmsg.DescribeLogDirsRequest)
		if !ok {
			return nil
		}
		response := kmsg.NewPtrDescribeLogDirsResponse()
		protocol.TagTierProblems(&response.UnknownTags, []protocol.TierProblem{{Kind: "orphans", Object: "id", Count: 3, Since: 9, Text: "3 objects"}})
		dir := kmsg.NewDescribeLogDirsResponseDir()
		for topic, partitions := range topics {
			if request.Topics != nil && !slices.ContainsFunc(request.Topics, func(t kmsg.DescribeLogDirsRequestTopic) bool { return t.Topic == topic }) {
				continue
			}
			t := kmsg.NewDescribeLogDirsResponseDirTopic()
			t.Topic = topic
			for _, partition := range partitions {
				p := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
				p.Partition, p.Size = partition, 1000
				protocol.TierStats{LastUpload: -1}.Tags(&p.UnknownTags)
				protocol.TagTierProblems(&p.UnknownTags, []protocol.TierProblem{
					{Kind: "damage", Object: "x/" + topic, Since: 7, Text: "gone"}, {Kind: "upload", Count: 2, Since: 5, Text: "no bucket"},
				})
				t.Partitions = append(t.Partitions, p)
			}
			dir.Topics = append(dir.Topics, t)
		}
		response.Dirs = append(response.Dirs, dir)
		return response
	}
}

func TestTierProblems(t *testing.T) {
	f := newFakeBroker(t, map[string]int{"a": 2, "b": 1}, listOffsets(map[int64]int64{-1: 100, -4: 0, -5: -1}, nil),
		damagedLogs(map[string][]int32{"b": {0}, "a": {1}}), topicConfigs(tieredConfig))
	c := connect(t, f.addr)
	got, err := c.TierProblems(t.Context())
	if err != nil || len(got) != 5 {
		t.Fatalf("%+v, %v", got, err)
	}
	ofBucket := []TierProblem{{Partition: -1, Broker: got[0].Broker, Kind: "orphans", Object: "id", Count: 3, Since: 9, Text: "3 objects"}}
	if alone, aloneErr := c.BucketProblems(t.Context()); aloneErr != nil || !slices.Equal(alone, ofBucket) || got[0] != ofBucket[0] {
		t.Errorf("%+v, %v, and with all others %+v", alone, aloneErr, got[0])
	}
	got = got[1:]
	want := []TierProblem{
		{Topic: "a", Partition: 1, Broker: got[0].Broker, Kind: "upload", Count: 2, Since: 5, Text: "no bucket"},
		{Topic: "a", Partition: 1, Broker: got[0].Broker, Kind: "damage", Object: "x/a", Count: 1, Since: 7, Text: "gone"},
	}
	if !slices.Equal(got[:2], want) || got[2].Topic != "b" {
		t.Errorf("got %+v", got)
	}
	status, err := c.TierStatus(t.Context(), "a")
	if err != nil || len(status) != 2 || len(status[0].Problems) != 0 || !slices.Equal(status[1].Problems, want) {
		t.Errorf("status %+v, %v", status, err)
	}
}
