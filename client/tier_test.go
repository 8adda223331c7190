package client

import (
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

// logDirs answers with a size, and statistics where they are given.
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
	stats := protocol.TierStats{RemoteBytes: 5000, RemoteSegments: 7, PendingBytes: 30, LastUpload: 1_700_000_000_000, State: "read-only"}
	f := newFakeBroker(t, map[string]int{"a": 2, "__internal": 1},
		listOffsets(map[int64]int64{-1: 100, -2: 10, -4: 70, -5: 89}, nil), logDirs(&stats), topicConfigs(tieredConfig))
	got, err := connect(t, f.addr).TierStatus(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	row := TierPartition{
		Topic: "a", Tiered: true, LogStart: 10, LocalStart: 70, RemoteEnd: 90, End: 100,
		LocalBytes: 1000, RemoteBytes: 5000, RemoteSegments: 7, PendingBytes: 30, LastUpload: 1_700_000_000_000, State: "read-only",
	}
	second := row
	second.Partition = 1
	if want := []TierPartition{row, second}; !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got[0].Lag() != 10 {
		t.Errorf("lag is %d, want 10", got[0].Lag())
	}
}

// A broker that is not Varve's gives the ranges, and unknown for the rest; an
// older one does not even know the tiers' timestamps.
func TestTierStatusOfOthers(t *testing.T) {
	f := newFakeBroker(t, map[string]int{"a": 1}, listOffsets(map[int64]int64{-1: 100, -4: 0, -5: -1}, nil), logDirs(nil), topicConfigs(tieredConfig))
	got, err := connect(t, f.addr).TierStatus(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	want := TierPartition{
		Topic: "a", Tiered: true, End: 100, LocalBytes: 1000,
		RemoteBytes: Unknown, RemoteSegments: Unknown, PendingBytes: Unknown, LastUpload: Unknown,
	}
	if got[0] != want || got[0].Lag() != 100 {
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
	if got[0] != want || got[0].Lag() != Unknown {
		t.Errorf("got  %+v, lag %d\nwant %+v", got[0], got[0].Lag(), want)
	}
}

// A topic without a remote tier does not lag behind it.
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
