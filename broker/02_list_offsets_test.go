package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/vfs"
)

func listRequest(version int16, topic string, timestamps ...int64) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.SetVersion(version)
	req.ReplicaID, req.TimeoutMillis = -1, 5000
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	for i, ts := range timestamps {
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.Timestamp = int32(i), ts
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func (c *dataCluster) list(req *kmsg.ListOffsetsRequest) []kmsg.ListOffsetsResponseTopicPartition {
	c.t.Helper()
	return c.exchange(&Request{}, req).(*kmsg.ListOffsetsResponse).Topics[0].Partitions
}

func TestListOffsetsInEveryVersion(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.topic("a", 8)
	for p := range int32(8) {
		c.produce("a", p, "one", "two", "three") // timestamps 1000, 1001, 1002
	}
	c.hosted("a", 5).Log().SetRemoteEndOffset(-1)
	type want struct {
		ts, offset, timestamp int64
		first                 int16
	}
	wants := []want{
		{-1, 3, -1, 1}, {-2, 0, -1, 1}, {-3, 2, 1002, 7}, {-4, 0, -1, 8}, {-5, -1, -1, 9}, {-6, -1, -1, 11}, {1001, 1, 1001, 1}, {5000, -1, -1, 1},
	}
	for version := int16(1); version <= 11; version++ {
		timestamps := make([]int64, len(wants))
		for i, w := range wants {
			timestamps[i] = w.ts
		}
		for i, got := range c.list(listRequest(version, "a", timestamps...)) {
			w := wants[i]
			if version < w.first {
				if got.ErrorCode != int16(protocol.UnsupportedVersion) || got.Offset != -1 {
					t.Errorf("v%d, timestamp %d: %+v", version, w.ts, got)
				}
				continue
			}
			epoch := int32(0)
			if w.offset < 0 || version < 4 {
				epoch = -1
			}
			if got.ErrorCode != 0 || got.Offset != w.offset || got.Timestamp != w.timestamp || got.LeaderEpoch != epoch {
				t.Errorf("v%d, timestamp %d: %+v, want %+v", version, w.ts, got, w)
			}
		}
	}
}

func TestListOffsetsErrors(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.topic("a", 1)
	c.assigned("elsewhere", []int32{2})
	for _, q := range []struct {
		name   string
		topic  string
		ts     int64
		change func(*kmsg.ListOffsetsRequest)
		want   protocol.ErrorCode
	}{
		{"fine", "a", -1, nil, protocol.None},
		{"a debugger", "a", -1, func(r *kmsg.ListOffsetsRequest) { r.ReplicaID = -2 }, protocol.None},
		{"a replica", "a", -1, func(r *kmsg.ListOffsetsRequest) { r.ReplicaID = 2 }, protocol.NotLeaderOrFollower},
		{"unknown topic", "b", -1, nil, protocol.UnknownTopicOrPartition},
		{"led elsewhere", "elsewhere", -1, nil, protocol.NotLeaderOrFollower},
		{"unknown special timestamp", "a", -7, nil, protocol.UnsupportedVersion},
		{"epoch to come", "a", 5, func(r *kmsg.ListOffsetsRequest) { r.Topics[0].Partitions[0].CurrentLeaderEpoch = 9 }, protocol.UnknownLeaderEpoch},
		{"named twice", "a", -1, func(r *kmsg.ListOffsetsRequest) {
			r.Topics[0].Partitions = append(r.Topics[0].Partitions, r.Topics[0].Partitions[0])
		}, protocol.InvalidRequest},
	} {
		req := listRequest(11, q.topic, q.ts)
		if q.change != nil {
			q.change(req)
		}
		if got := c.list(req)[0]; got.ErrorCode != int16(q.want) || (q.want != protocol.None && got.Offset != -1) {
			t.Errorf("%s: %+v, want %v", q.name, got, q.want)
		}
	}
	for version, want := range map[int16]protocol.ErrorCode{4: protocol.LeaderNotAvailable, 5: protocol.OffsetNotAvailable} {
		answer := kmsg.NewListOffsetsResponseTopicPartition()
		c.listedError(t.Context(), listRequest(version, "a", -1), &answer, replication.ErrOffsetNotAvailable)
		if answer.ErrorCode != int16(want) {
			t.Errorf("v%d: %v, want %v", version, protocol.ErrorCode(answer.ErrorCode), want)
		}
	}
	expectLogged(t, c.logs, "level", 0)
}
