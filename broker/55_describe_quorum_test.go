package broker

import (
	"context"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/protocol"
)

func quorumRequest(version int16, topic string, partitions ...int32) *kmsg.DescribeQuorumRequest {
	req := kmsg.NewPtrDescribeQuorumRequest()
	req.Version = version
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic = topic
	for _, number := range partitions {
		t.Partitions = append(t.Partitions, kmsg.DescribeQuorumRequestTopicPartition{Partition: number})
	}
	req.Topics = append(req.Topics, t)
	return req
}

// quorumOfTwo has voters 1 and 9 and learner 2. Voter 9 was never seen.
func quorumOfTwo(at time.Time) kv.Quorum {
	return kv.Quorum{
		LeaderID: 1, Epoch: 5, HighWatermark: 100,
		Voters: []kv.QuorumMember{
			{ID: 1, Endpoints: []string{"h:9101"}, LogEndOffset: 100, LastFetch: at, LastCaughtUp: at.Add(-time.Second)},
			{ID: 9, Endpoints: []string{"[::1]:9101", "unix-socket"}, LogEndOffset: -1},
		},
		Learners: []kv.QuorumMember{{ID: 2, LogEndOffset: 90, LastFetch: at}},
	}
}

func TestDescribeQuorumInEveryVersion(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	at := time.UnixMilli(1_700_000_000_000)
	c.quorum = func(context.Context) (kv.Quorum, error) { return quorumOfTwo(at), nil }
	for version := range int16(3) {
		resp := c.call(quorumRequest(version, "__cluster_metadata", 0)).(*kmsg.DescribeQuorumResponse)
		if resp.ErrorCode != 0 || len(resp.Topics) != 1 || resp.Topics[0].Topic != "__cluster_metadata" || len(resp.Topics[0].Partitions) != 1 {
			t.Fatalf("v%d: %+v", version, resp)
		}
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != 0 || p.LeaderID != 1 || p.LeaderEpoch != 5 || p.HighWatermark != 100 {
			t.Errorf("v%d: %+v", version, p)
		}
		fetch, caughtUp := at.UnixMilli(), at.UnixMilli()-1000
		if version == 0 {
			fetch, caughtUp = -1, -1
		}
		for name, pair := range map[string][2][]kmsg.DescribeQuorumResponseTopicPartitionReplicaState{
			"voters": {p.CurrentVoters, {
				{ReplicaID: 1, LogEndOffset: 100, LastFetchTimestamp: fetch, LastCaughtUpTimestamp: caughtUp},
				{ReplicaID: 9, LogEndOffset: -1, LastFetchTimestamp: -1, LastCaughtUpTimestamp: -1},
			}},
			"observers": {p.Observers, {
				{ReplicaID: 2, LogEndOffset: 90, LastFetchTimestamp: fetch, LastCaughtUpTimestamp: -1}, // once, although broker 2 is alive
				{ReplicaID: 3, LogEndOffset: -1, LastFetchTimestamp: -1, LastCaughtUpTimestamp: -1},
			}},
		} {
			if !reflect.DeepEqual(pair[0], pair[1]) {
				t.Errorf("v%d: %s\n%+v, not\n%+v", version, name, pair[0], pair[1])
			}
		}
		nodes := []kmsg.DescribeQuorumResponseNode{
			{NodeID: 1, Listeners: []kmsg.DescribeQuorumResponseNodeListener{{Name: "ETCD", Host: "h", Port: 9101}}},
			{NodeID: 9, Listeners: []kmsg.DescribeQuorumResponseNodeListener{{Name: "ETCD", Host: "::1", Port: 9101}}},
		}
		if version < 2 {
			nodes = nil
		}
		if !reflect.DeepEqual(resp.Nodes, nodes) {
			t.Errorf("v%d: nodes %+v", version, resp.Nodes)
		}
	}
}

func TestDescribeQuorumOfAnythingElse(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.quorum = func(context.Context) (kv.Quorum, error) { t.Error("asked"); return kv.Quorum{}, nil }
	two := quorumRequest(2, "__cluster_metadata", 0)
	two.Topics = append(two.Topics, quorumRequest(2, "x", 0).Topics...)
	for name, req := range map[string]*kmsg.DescribeQuorumRequest{
		"another topic": quorumRequest(2, "x", 0), "another partition": quorumRequest(2, "__cluster_metadata", 1),
		"two partitions": quorumRequest(2, "__cluster_metadata", 0, 1), "two topics": two,
	} {
		resp := c.call(req).(*kmsg.DescribeQuorumResponse)
		if resp.ErrorCode != 0 || len(resp.Topics) != len(req.Topics) {
			t.Errorf("%s: %+v", name, resp)
		}
		for i, topic := range resp.Topics {
			for j, p := range topic.Partitions {
				if topic.Topic != req.Topics[i].Topic || p.Partition != req.Topics[i].Partitions[j].Partition ||
					p.ErrorCode != int16(protocol.UnknownTopicOrPartition) || p.ErrorMessage == nil {
					t.Errorf("%s: %+v", name, topic)
				}
			}
		}
	}
	none := kmsg.NewPtrDescribeQuorumRequest()
	none.Version = 2
	if resp := c.call(none).(*kmsg.DescribeQuorumResponse); resp.ErrorCode != 0 || len(resp.Topics) != 0 {
		t.Errorf("nothing: %+v", resp)
	}
}

func TestDescribeQuorumWithoutALeader(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.quorum = func(context.Context) (kv.Quorum, error) {
		return kv.Quorum{}, fmt.Errorf("no leader: %w", kv.ErrUnavailable)
	}
	resp := c.call(quorumRequest(2, "__cluster_metadata", 0)).(*kmsg.DescribeQuorumResponse)
	if resp.ErrorCode != int16(protocol.RequestTimedOut) || resp.ErrorMessage == nil || len(resp.Topics) != 0 {
		t.Errorf("%+v", resp)
	}
}
