package broker

import (
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/vfs"
)

// rackedTopic has one partition. Broker 1 in rack r leads it; broker 3 in another rack follows and
// has all of it.
func rackedTopic(t *testing.T) (c *dataCluster, asFollower func(change func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)) *kmsg.FetchRequest) {
	t.Helper()
	c = newDataCluster(t, vfs.NewMem())
	c.cfg.SelectByRack = true
	far := metadata.NewRegistration(metadata.RegistrationOptions{
		Store: c.store, BrokerID: 3, DirectoryID: "d", Rack: "far", Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		Listeners: []metadata.Listener{{Name: "PLAINTEXT", Host: "broker3", Port: 9092, Protocol: "PLAINTEXT"}},
	})
	epoch, err := far.Register(t.Context())
	if err == nil {
		_, err = c.loader.WaitRevision(t.Context(), epoch)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := c.admin.CreateTopics(t.Context(), []metadata.TopicSpec{{Name: "a", Assignments: map[int32][]int32{0: {1, 3}}}}, false)[0]
	if r.Err == nil {
		r.Err = c.manager.AwaitServed(t.Context(), []metadata.TopicID{r.ID})
	}
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return c, func(change func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)) *kmsg.FetchRequest {
		req := fetchRequest(17, "", r.ID, 0)
		req.ReplicaState.ID, req.ReplicaState.Epoch = 3, far.BrokerEpoch()
		change(req, &req.Topics[0].Partitions[0])
		return req
	}
}

func TestConsumersAreSentToTheirRack(t *testing.T) {
	c, asFollower := rackedTopic(t)
	if _, err := c.hosted("a", 0).Append(batchOf(t, "one", "two"), 1); err != nil {
		t.Fatal(err)
	}
	id := c.hosted("a", 0).TopicID()
	ask := func(version int16, rack string, offset int64) kmsg.FetchResponseTopicPartition {
		t.Helper()
		name := "a"
		if version >= 13 {
			name = ""
		}
		req := fetchRequest(version, name, id, 0)
		req.Rack = rack
		req.Topics[0].Partitions[0].FetchOffset = offset
		return c.fetch(req).Topics[0].Partitions[0]
	}
	if p := ask(13, "far", 0); p.PreferredReadReplica != -1 {
		t.Errorf("a follower that has nothing is preferred: %+v", p)
	}
	c.fetch(asFollower(func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = 2 }))
	for _, q := range []struct {
		version int16
		rack    string
		offset  int64
		want    int32
		records int
	}{
		{11, "far", 0, 3, 0},
		{18, "far", 0, 3, 0},
		{18, "far", 2, 3, 0}, // it has all records below
		{18, "r", 0, -1, 2},
		{18, "elsewhere", 0, -1, 2},
		{18, "", 0, -1, 2},
		{10, "", 0, -1, 2},
	} {
		p := ask(q.version, q.rack, q.offset)
		if p.ErrorCode != 0 || p.PreferredReadReplica != q.want || len(valuesOf(t, p.RecordBatches)) != q.records || p.HighWatermark != 2 {
			t.Errorf("v%d, rack %q, offset %d: %+v", q.version, q.rack, q.offset, p)
		}
	}
	c.cfg.SelectByRack = false
	if p := ask(18, "far", 0); p.PreferredReadReplica != -1 || len(p.RecordBatches) == 0 {
		t.Errorf("without a selector: %+v", p)
	}
}

// TestSessionsTellOfARedirection: every incremental fetch names the preferred replica, even without
// any other news.
func TestSessionsTellOfARedirection(t *testing.T) {
	c, asFollower := rackedTopic(t)
	c.fetch(asFollower(func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition) {}))
	req := fetchRequest(13, "", c.hosted("a", 0).TopicID(), 0)
	req.SessionEpoch, req.Rack = 0, "far"
	resp := c.fetch(req)
	for epoch := int32(1); epoch < 4; epoch++ {
		if len(resp.Topics) != 1 || resp.Topics[0].Partitions[0].PreferredReadReplica != 3 {
			t.Fatalf("before epoch %d: %+v", epoch, resp)
		}
		next := fetchRequest(13, "", metadata.TopicID{})
		next.Topics, next.SessionID, next.SessionEpoch, next.Rack = nil, resp.SessionID, epoch, "far"
		resp = c.fetch(next)
	}
}

// TestFollowersHearOfTheHighWatermark: consumers that read from a follower wait for the high
// watermark, so the follower's fetch returns a new one at once.
func TestFollowersHearOfTheHighWatermark(t *testing.T) {
	c, asFollower := rackedTopic(t)
	if _, err := c.hosted("a", 0).Append(batchOf(t, "one"), 1); err != nil {
		t.Fatal(err)
	}
	resp := c.fetch(asFollower(func(r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) { r.SessionEpoch = 0 }))
	if p := resp.Topics[0].Partitions[0]; p.HighWatermark != 0 || len(p.RecordBatches) == 0 {
		t.Fatalf("%+v", p)
	}
	began := time.Now()
	resp = c.fetch(asFollower(func(r *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) {
		r.SessionID, r.SessionEpoch, r.MaxWaitMillis, p.FetchOffset = resp.SessionID, 1, 600_000, 1
	}))
	if len(resp.Topics) != 1 || resp.Topics[0].Partitions[0].HighWatermark != 1 || time.Since(began) > time.Minute {
		t.Errorf("after %v: %+v", time.Since(began), resp)
	}
}

// TestFollowersAnswerConsumers: a follower answers consumers whose version knows followers (v11
// on).
func TestFollowersAnswerConsumers(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	r := c.admin.CreateTopics(t.Context(), []metadata.TopicSpec{{Name: "a", Assignments: map[int32][]int32{0: {2, 1}}}}, false)[0]
	if r.Err == nil {
		r.Err = c.manager.AwaitServed(t.Context(), []metadata.TopicID{r.ID})
	}
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	for version, want := range map[int16]protocol.ErrorCode{10: protocol.NotLeaderOrFollower, 11: protocol.None, 18: protocol.None} {
		name := "a"
		if version >= 13 {
			name = ""
		}
		req := fetchRequest(version, name, r.ID, 0)
		if p := c.fetch(req).Topics[0].Partitions[0]; protocol.ErrorCode(p.ErrorCode) != want {
			t.Errorf("v%d: %+v", version, p)
		}
		req.Topics[0].Partitions[0].FetchOffset = 1
		if p := c.fetch(req).Topics[0].Partitions[0]; version >= 11 && protocol.ErrorCode(p.ErrorCode) != protocol.OffsetOutOfRange {
			t.Errorf("v%d, beyond the end: %+v", version, p)
		}
	}
}
