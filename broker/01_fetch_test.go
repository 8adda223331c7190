package broker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/vfs"
)

// fetchRequest asks for partitions of one topic from offset 0 on, without a session.
func fetchRequest(version int16, topic string, id metadata.TopicID, partitions ...int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(version)
	req.MaxBytes, req.MinBytes, req.MaxWaitMillis, req.SessionEpoch = 50<<20, 1, 0, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID = topic, id
	for _, number := range partitions {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.PartitionMaxBytes = number, 1<<20
		t.Partitions = append(t.Partitions, p)
	}
	req.Topics = append(req.Topics, t)
	return req
}

func (c *dataCluster) fetch(req *kmsg.FetchRequest) *kmsg.FetchResponse {
	c.t.Helper()
	return c.exchange(&Request{}, req).(*kmsg.FetchResponse)
}

func TestFetchInEveryVersion(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	id := c.topic("a", 2)
	c.produce("a", 0, "one", "two")
	c.produce("a", 0, "three")
	c.produce("a", 1, strings.Repeat("x", 100_000)) // too large for the response's buffer
	for version := int16(4); version <= 18; version++ {
		name := "a"
		if version >= 13 {
			name = ""
		}
		req := fetchRequest(version, name, id, 0, 1)
		resp := c.fetch(req)
		if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 2 || resp.ErrorCode != 0 || resp.SessionID != 0 {
			t.Fatalf("v%d: %+v", version, resp)
		}
		topic := resp.Topics[0]
		if topic.Topic != name || version >= 13 && topic.TopicID != id {
			t.Errorf("v%d: topic %q, %x", version, topic.Topic, topic.TopicID)
		}
		p := topic.Partitions[0]
		if got := valuesOf(t, p.RecordBatches); !slices.Equal(got, []string{"one", "two", "three"}) {
			t.Errorf("v%d: %q", version, got)
		}
		if p.HighWatermark != 3 || p.LastStableOffset != 3 || version >= 5 && p.LogStartOffset != 0 || p.PreferredReadReplica != -1 || p.AbortedTransactions != nil {
			t.Errorf("v%d: %+v", version, p)
		}
		if got := valuesOf(t, topic.Partitions[1].RecordBatches); len(got) != 1 || len(got[0]) != 100_000 {
			t.Errorf("v%d: %d values of the large batch", version, len(got))
		}
		req.IsolationLevel = 1
		if p = c.fetch(req).Topics[0].Partitions[0]; p.AbortedTransactions == nil || len(p.AbortedTransactions) != 0 {
			t.Errorf("v%d: aborted transactions of read_committed: %v", version, p.AbortedTransactions)
		}
	}
}

func TestFetchErrors(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	id := c.topic("a", 1)
	elsewhere := c.assigned("elsewhere", []int32{2})
	c.produce("a", 0, "v")
	for _, q := range []struct {
		name    string
		version int16
		topic   string
		id      metadata.TopicID
		change  func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition)
		want    protocol.ErrorCode
	}{
		{"fine", 12, "a", id, nil, protocol.None},
		{"unknown topic", 12, "b", id, nil, protocol.UnknownTopicOrPartition},
		{"unknown topic id", 13, "", metadata.TopicID{9}, nil, protocol.UnknownTopicID},
		{"unknown partition", 13, "", id, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.Partition = 4 }, protocol.UnknownTopicOrPartition},
		{"led elsewhere", 12, "elsewhere", elsewhere, nil, protocol.NotLeaderOrFollower},
		{"led elsewhere, by id", 16, "", elsewhere, nil, protocol.NotLeaderOrFollower},
		{"beyond the end", 12, "a", id, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = 2 }, protocol.OffsetOutOfRange},
		{"negative offset", 12, "a", id, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = -1 }, protocol.OffsetOutOfRange},
		{"epoch to come", 12, "a", id, func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = 5 }, protocol.UnknownLeaderEpoch},
		{"by a broker that is no replica", 15, "", id, func(r *kmsg.FetchRequest, _ *kmsg.FetchRequestTopicPartition) {
			r.ReplicaState.ID, r.ReplicaState.Epoch = 2, c.loader.Image().Brokers[2].Epoch
		}, protocol.NotLeaderOrFollower},
	} {
		req := fetchRequest(q.version, q.topic, q.id, 0)
		if q.change != nil {
			q.change(req, &req.Topics[0].Partitions[0])
		}
		resp := c.fetch(req)
		if len(resp.Topics) == 0 {
			t.Fatalf("%s: %v", q.name, protocol.ErrorCode(resp.ErrorCode))
		}
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != int16(q.want) {
			t.Errorf("%s: %v, want %v", q.name, protocol.ErrorCode(p.ErrorCode), q.want)
		}
		if q.want != protocol.None && (p.HighWatermark != -1 || p.LastStableOffset != -1 || p.LogStartOffset != -1 || len(p.RecordBatches) != 0) {
			t.Errorf("%s: %+v", q.name, p)
		}
	}
	resp := c.fetch(fetchRequest(16, "", elsewhere, 0))
	if p := resp.Topics[0].Partitions[0]; p.CurrentLeader.LeaderID != 2 || len(resp.Brokers) != 1 || resp.Brokers[0].Host != "broker2" {
		t.Errorf("who leads: %+v, %+v", p.CurrentLeader, resp.Brokers)
	}
	expectLogged(t, c.logs, "level", 0)
}

// TestFetchSession: the responses of a session contain only news. A topic that was recreated under
// the same name is a different one for the session.
func TestFetchSession(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	id := c.topic("a", 2)
	open := fetchRequest(13, "", id, 0, 1)
	open.SessionEpoch = 0
	first := c.fetch(open)
	if first.SessionID == 0 || len(first.Topics) != 1 || len(first.Topics[0].Partitions) != 2 {
		t.Fatalf("full: %+v", first)
	}
	next := func(epoch int32) *kmsg.FetchResponse {
		req := fetchRequest(13, "", id)
		req.Topics, req.SessionID, req.SessionEpoch = nil, first.SessionID, epoch
		return c.fetch(req)
	}
	if resp := next(1); resp.SessionID != first.SessionID || len(resp.Topics) != 0 {
		t.Errorf("no news: %+v", resp)
	}
	c.produce("a", 1, "v")
	resp := next(2)
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].TopicID != id {
		t.Fatalf("news: %+v", resp)
	}
	if p := resp.Topics[0].Partitions[0]; p.Partition != 1 || !slices.Equal(valuesOf(t, p.RecordBatches), []string{"v"}) {
		t.Errorf("news: %+v", p)
	}
	if resp = next(2); resp.ErrorCode != int16(protocol.InvalidFetchSessionEpoch) || resp.SessionID != 0 || len(resp.Topics) != 0 {
		t.Errorf("repeated epoch: %+v", resp)
	}
	if r := c.admin.DeleteTopics(t.Context(), []metadata.TopicRef{{Name: "a"}})[0]; r.Err != nil {
		t.Fatal(r.Err)
	}
	c.topic("a", 2)
	resp = next(3)
	for _, p := range resp.Topics[0].Partitions {
		if p.ErrorCode != int16(protocol.UnknownTopicID) {
			t.Errorf("after the topic was replaced: %+v", p)
		}
	}
	if n, partitions := c.sessions.size(); n != 1 || partitions != 2 {
		t.Errorf("%d sessions with %d partitions", n, partitions)
	}
}

func TestFetchSharesMaxBytes(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	id := c.topic("a", 3)
	value := strings.Repeat("x", 1000)
	for p := range int32(3) {
		c.produce("a", p, value)
		c.produce("a", p, value)
	}
	one := len(batchOf(t, value))
	for _, q := range []struct {
		max, partition int32
		want           []int
	}{
		{1 << 20, 1 << 20, []int{2, 2, 2}},
		{1 << 20, int32(one), []int{1, 1, 1}},
		{1 << 20, 1, []int{1, 0, 0}}, // one batch of any size is returned
		{int32(3 * one), 1 << 20, []int{2, 1, 0}},
		{1, 1 << 20, []int{1, 0, 0}},
		{0, 0, []int{1, 0, 0}},
		{-1, -1, []int{1, 0, 0}},
	} {
		req := fetchRequest(12, "a", id, 0, 1, 2)
		req.MaxBytes = q.max
		for i := range req.Topics[0].Partitions {
			req.Topics[0].Partitions[i].PartitionMaxBytes = q.partition
		}
		got := make([]int, 0, 3)
		for _, p := range c.fetch(req).Topics[0].Partitions {
			got = append(got, len(valuesOf(t, p.RecordBatches)))
		}
		if !slices.Equal(got, q.want) {
			t.Errorf("max bytes %d, of each %d: %v, want %v", q.max, q.partition, got, q.want)
		}
	}
	c.cfg.FetchMaxBytes = int32(2 * one)
	got := make([]int, 0, 3)
	for _, p := range c.fetch(fetchRequest(12, "a", id, 0, 1, 2)).Topics[0].Partitions {
		got = append(got, len(valuesOf(t, p.RecordBatches)))
	}
	if !slices.Equal(got, []int{2, 0, 0}) {
		t.Errorf("the broker's limit: %v", got)
	}
}

// TestLongPoll: a waiting consumer gets a record as soon as it is appended. Unknown partitions in
// its request do not end its wait.
func TestLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDataCluster(t, vfs.NewMem())
		c.topic("a", 1)
		req := fetchRequest(12, "a", metadata.TopicID{}, 0)
		req.MaxWaitMillis = 1000
		unknown := kmsg.NewFetchRequestTopic()
		unknown.Topic, unknown.Partitions = "b", []kmsg.FetchRequestTopicPartition{kmsg.NewFetchRequestTopicPartition()}
		req.Topics = append(req.Topics, unknown)
		done := make(chan *kmsg.FetchResponse, 1)
		start := time.Now()
		go func() { done <- c.fetch(req) }()
		synctest.Wait()
		c.produce("a", 0, "news")
		resp := <-done
		if got := valuesOf(t, resp.Topics[0].Partitions[0].RecordBatches); !slices.Equal(got, []string{"news"}) || time.Since(start) != 0 {
			t.Errorf("got %q after %v", got, time.Since(start))
		}
		if p := resp.Topics[1].Partitions[0]; p.ErrorCode != int16(protocol.UnknownTopicOrPartition) {
			t.Errorf("unknown topic: %+v", p)
		}
		req.Topics[0].Partitions[0].FetchOffset = 1
		c.fetch(req)
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("without news it waited %v", waited)
		}
		req.Topics = req.Topics[1:] // nothing to wait for
		c.fetch(req)
		if waited := time.Since(start); waited != time.Second {
			t.Errorf("without known partitions it waited %v more", waited-time.Second)
		}
	})
}

// failingConn takes a number of bytes and then breaks.
type failingConn struct {
	left int
	net.Conn
}

func (f *failingConn) Write(p []byte) (int, error) {
	if f.left < len(p) {
		n := f.left
		f.left = 0
		return n, io.ErrClosedPipe
	}
	f.left -= len(p)
	return len(p), nil
}

// TestFetchReleasesOnABrokenConnection: the log's files are released on a broken connection too.
// The files of a deleted topic can be removed only after the last reader has released them.
func TestFetchReleasesOnABrokenConnection(t *testing.T) {
	fs := vfs.NewMem()
	c := newDataCluster(t, fs)
	c.topic("a", 1)
	c.produce("a", 0, strings.Repeat("x", 400_000))
	for _, left := range []int{0, 20, 100, 200_000, 1 << 30} {
		req := fetchRequest(12, "a", metadata.TopicID{}, 0)
		resp := c.Broker.fetch(t.Context(), &Request{}, req).(*fetchResponse)
		resp.SetVersion(12)
		w := newResponseWriter()
		w.begin(protocol.RequestHeader{Key: 1}, true)
		if err := w.body(resp); err != nil {
			t.Fatal(err)
		}
		if err := w.finish(); err != nil {
			t.Fatal(err)
		}
		err := w.send(&failingConn{left: left})
		if (err == nil) != (left == 1<<30) {
			t.Errorf("after %d bytes: %v", left, err)
		}
		resp.Release()
		for _, topic := range resp.topics {
			for _, p := range topic.partitions {
				if p.records != nil {
					t.Error("records are held")
				}
			}
		}
		w.free()
	}
}

// TestFileRangeIsWrittenInChunks: a large response is written in pieces, never held in memory.
func TestFileRangeIsWrittenInChunks(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.topic("a", 1)
	value := strings.Repeat("0123456789", 90_000)
	c.produce("a", 0, value)
	resp := c.Broker.fetch(t.Context(), &Request{}, fetchRequest(12, "a", metadata.TopicID{}, 0)).(*fetchResponse)
	defer resp.Release()
	slice, ok := resp.topics[0].partitions[0].records.(*batches).Slice()
	if !ok {
		t.Fatal("not from a file")
	}
	var largest int
	var all bytes.Buffer
	n, err := fileRange{slice}.WriteTo(writerFunc(func(p []byte) (int, error) {
		largest = max(largest, len(p))
		return all.Write(p)
	}))
	if err != nil || n != int64(slice.Len()) || largest > streamChunk {
		t.Errorf("wrote %d of %d in pieces of up to %d: %v", n, slice.Len(), largest, err)
	}
	if got := valuesOf(t, all.Bytes()); len(got) != 1 || got[0] != value {
		t.Error("other bytes came out")
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestFranzGoProducesAndConsumes: an unmodified client produces and consumes, with idempotence and
// sessions.
func TestFranzGoProducesAndConsumes(t *testing.T) {
	c := newDataClusterOf(t, 0, vfs.NewMem())
	address := c.listenOn(t)
	c.topic("a", 3)
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.DefaultProduceTopic("a"), kgo.ConsumeTopics("a"), kgo.FetchMaxWait(200*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const n = 3000
	for i := range n {
		client.Produce(t.Context(), &kgo.Record{Key: fmt.Append(nil, i%17), Value: fmt.Append(nil, i)}, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Errorf("produce %d: %v", i, err)
			}
		})
	}
	if err = client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	seen := map[string]bool{}
	last := map[string]int{}
	for len(seen) < n && ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		for _, e := range fetches.Errors() {
			t.Errorf("fetch: %+v", e)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			seen[string(r.Value)] = true
			var i int
			if _, err := fmt.Sscan(string(r.Value), &i); err != nil || i < last[string(r.Key)] {
				t.Errorf("%s after %d of key %s", r.Value, last[string(r.Key)], r.Key)
			}
			last[string(r.Key)] = i
		})
	}
	if len(seen) != n {
		t.Errorf("%d records of %d came back", len(seen), n)
	}
	expectLogged(t, c.logs, "level", 0)
}
