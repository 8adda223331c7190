package broker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/vfs"
)

// dataCluster is a broker with real metadata, storage and replication behind its handlers.
type dataCluster struct {
	*testCluster
	manager *replication.Manager
	storage *storage.Manager
}

// dataConfig applies the few topic settings that tests of handlers change.
func dataConfig(image *metadata.Image, topic string) replication.Config {
	cfg := replication.Config{Log: storage.DefaultConfig(), MinInSyncReplicas: 1}
	for name, value := range image.TopicConfigs(topic) {
		switch {
		case name == "max.message.bytes":
			cfg.Log.MaxMessageBytes = 1000
		case name == "min.insync.replicas":
			cfg.MinInSyncReplicas = 2
		case name == "message.timestamp.type":
			cfg.Log.TimestampType = storage.LogAppendTime
		case name == "cleanup.policy" && value == "compact":
			cfg.Log.CleanupDelete, cfg.Log.CleanupCompact = false, true
		case name == "flush.messages":
			cfg.Log.FlushMessages = 1
		case name == "remote.storage.enable":
			cfg.Log.RemoteStorageEnable = true
		}
	}
	return cfg
}

// newDataCluster has the live brokers 1 and 2. Broker 1 answers.
func newDataCluster(t testing.TB, fs vfs.FS) *dataCluster {
	t.Helper()
	return newDataClusterOf(t, 2, fs)
}

func newDataClusterOf(t testing.TB, brokers int, fs vfs.FS) *dataCluster {
	t.Helper()
	return newDataClusterIn(t, brokers, fs, "/data")
}

func newDataClusterIn(t testing.TB, brokers int, fs vfs.FS, dirs ...string) *dataCluster {
	t.Helper()
	c := &dataCluster{testCluster: newTestCluster(t, brokers, nil)}
	id, err := metadata.EnsureClusterID(t.Context(), c.store, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.storage, err = storage.OpenManager(t.Context(), storage.Options{
		FS: fs, Dirs: dirs, ClusterID: id, NodeID: 1, Logger: slog.New(slog.DiscardHandler),
		// the first round is at a random time and would delete records with old timestamps
		RetentionInterval: 1 << 60,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.storage.Close() }) // tests break it
	bucket, err := objstore.Open(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = bucket.Close() })
	c.manager = replication.New(replication.Options{
		BrokerID: 1, Storage: c.storage, Cluster: c.loader, Logger: slog.New(slog.DiscardHandler), Config: dataConfig,
		// does not run: nothing is uploaded
		Tier:      tiering.New(tiering.Options{Bucket: bucket, Store: c.store}),
		Followers: replication.Followers{BrokerEpoch: func() int64 { return c.loader.Image().Brokers[1].Epoch }},
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	stored := make(chan error, 1)
	go func() { done <- c.manager.Run(ctx) }()
	go func() { stored <- c.storage.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = <-stored // an error if a test broke the disk
	})
	cfg := DefaultConfig()
	cfg.NodeID, cfg.InterBrokerListener = 1, "PLAINTEXT"
	admin := metadata.NewAdmin(metadata.AdminOptions{Store: c.store, Loader: c.loader, Now: time.Now})
	c.Broker = New(Options{
		Config: cfg, Logger: c.logs.logger(), Cluster: c.loader, Replicas: c.manager, Groups: c.groups, Admin: admin,
		Partitions: c.manager, ProducerIDs: admin.AllocateProducerIDs,
	})
	return c
}

// topic creates a topic that broker 1 leads and waits until it does. Settings are names and values.
func (c *dataCluster) topic(name string, partitions int, settings ...string) metadata.TopicID {
	c.t.Helper()
	return c.assigned(name, slices.Repeat([]int32{1}, partitions), settings...)
}

// assigned creates a topic whose partitions have the given brokers as their only replicas.
func (c *dataCluster) assigned(name string, brokers []int32, settings ...string) metadata.TopicID {
	c.t.Helper()
	spec := metadata.TopicSpec{Name: name, Assignments: map[int32][]int32{}, Configs: map[string]string{}}
	for i, b := range brokers {
		spec.Assignments[int32(i)] = []int32{b}
	}
	for i := 0; i < len(settings); i += 2 {
		spec.Configs[settings[i]] = settings[i+1]
	}
	r := c.admin.CreateTopics(c.t.Context(), []metadata.TopicSpec{spec}, false)[0]
	if r.Err == nil {
		r.Err = c.manager.AwaitServed(c.t.Context(), []metadata.TopicID{r.ID})
	}
	if r.Err != nil {
		c.t.Fatal(r.Err)
	}
	return r.ID
}

func (c *dataCluster) hosted(name string, number int32) *replication.Partition {
	c.t.Helper()
	p, ok := c.manager.Partition(metadata.TopicPartition{Topic: name, Partition: number})
	if !ok {
		c.t.Fatalf("%s-%d is not here", name, number)
	}
	return p
}

// exchange passes a request and its response through their encodings, including both stages and the
// layout of streamed responses. It returns nil if no response is sent; r.abort then says whether
// the connection would be closed.
func (c *dataCluster) exchange(r *Request, req kmsg.Request) kmsg.Response {
	c.t.Helper()
	a, ok := c.apis[req.Key()]
	if !ok || !a.serves(req.GetVersion()) {
		c.t.Fatalf("%T v%d is not served", req, req.GetVersion())
	}
	r.Key, r.Version, r.Listener = req.Key(), req.GetVersion(), "PLAINTEXT"
	received := a.newRequest()
	received.SetVersion(req.GetVersion())
	if err := received.ReadFrom(req.AppendTo(nil)); err != nil {
		c.t.Fatalf("decode request: %v", err)
	}
	var resp kmsg.Response
	if a.accept != nil {
		resp = a.accept(c.Broker, c.t.Context(), r, received).respond(c.t.Context())
	} else {
		resp = a.handle(c.Broker, c.t.Context(), r, received)
	}
	if resp == nil {
		return nil
	}
	if held, ok := resp.(releasedResponse); ok {
		defer held.Release()
	}
	resp.SetVersion(req.GetVersion())
	w := newResponseWriter()
	defer w.free()
	w.buf = append(w.buf, 0, 0, 0, 0) // room for the frame's length
	if err := errors.Join(w.body(resp), w.finish()); err != nil {
		c.t.Fatal(err)
	}
	var sent bytes.Buffer
	if err := w.send(&sent); err != nil {
		c.t.Fatal(err)
	}
	got := req.ResponseKind()
	if err := got.ReadFrom(sent.Bytes()[4:]); err != nil {
		c.t.Fatalf("decode response: %v", err)
	}
	return got
}

// produceRequest is a request with one batch for one partition.
func produceRequest(version, acks int16, topic string, id metadata.TopicID, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(version)
	req.Acks, req.TimeoutMillis = acks, 10_000
	addRecords(req, topic, id, partition, records)
	return req
}

func addRecords(req *kmsg.ProduceRequest, topic string, id metadata.TopicID, partition int32, records []byte) {
	t, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	t.Topic, t.TopicID = topic, id
	p.Partition, p.Records = partition, records
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
}

// produce appends a batch of one record for each value and returns the partition's answer.
func (c *dataCluster) produce(topic string, partition int32, values ...string) kmsg.ProduceResponseTopicPartition {
	c.t.Helper()
	req := produceRequest(12, -1, topic, metadata.TopicID{}, partition, batchOf(c.t, values...))
	return c.exchange(&Request{}, req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
}

func batchOf(t testing.TB, values ...string) []byte {
	t.Helper()
	return buildBatch(t, &record.Builder{}, values...)
}

func buildBatch(t testing.TB, b *record.Builder, values ...string) []byte {
	t.Helper()
	for i, v := range values {
		b.Append(1000+int64(i), []byte("key"), []byte(v))
	}
	out, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(out)
}

// valuesOf returns the values of the records in whole batches.
func valuesOf(t testing.TB, records []byte) []string {
	t.Helper()
	out := []string{}
	for len(records) > 0 {
		b, rest, err := record.Split(records)
		if errors.Is(err, record.ErrTruncated) {
			break
		}
		if err == nil {
			err = b.Check()
		}
		if err != nil {
			t.Fatal(err)
		}
		for rec, recErr := range b.Records() {
			if recErr != nil {
				t.Fatal(recErr)
			}
			out = append(out, string(rec.Value))
		}
		records = rest
	}
	return out
}

// TestFollowersWaitEndsWithItsNextRequest: a follower's waiting fetch is answered when the next
// request arrives on its connection. A consumer's fetch keeps waiting.
func TestFollowersWaitEndsWithItsNextRequest(t *testing.T) {
	c := newDataClusterOf(t, 2, vfs.NewMem())
	spec := metadata.TopicSpec{Name: "a", Assignments: map[int32][]int32{0: {1, 2}}}
	created := c.create(t.Context(), []metadata.TopicSpec{spec}, false)[0]
	if created.Err != nil {
		t.Fatal(created.Err)
	}
	id := created.ID
	r := serveNamed(t, c.Broker, c.cfg.InterBrokerListener)
	for replica, epoch := range map[int32]int64{2: c.loader.Image().Brokers[2].Epoch, -1: -1} {
		conn := r.dial(t, "client:"+strconv.Itoa(int(3+replica)))
		req := kmsg.NewPtrFetchRequest()
		req.Version, req.ReplicaState.ID, req.ReplicaState.Epoch = 17, replica, epoch
		req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 3_600_000, 1, 1<<20
		topic := kmsg.NewFetchRequestTopic()
		topic.TopicID = id
		part := kmsg.NewFetchRequestTopicPartition()
		part.PartitionMaxBytes = 1 << 20
		topic.Partitions = append(topic.Partitions, part)
		req.Topics = append(req.Topics, topic)
		next := kmsg.NewPtrFetchRequest()
		next.Version, next.SessionEpoch, next.ReplicaState.ID, next.ReplicaState.Epoch = 17, -1, replica, epoch
		wait := time.Minute
		if replica < 0 {
			wait = 100 * time.Millisecond
		}
		conn.send(1, req)
		conn.send(2, next)
		if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
			t.Fatal(err)
		}
		got, body, err := conn.receive()
		if answered := err == nil && got == 1; answered != (replica >= 0) {
			t.Errorf("replica %d: received %d, %v", replica, got, err)
		}
		if replica >= 0 && err == nil {
			resp := kmsg.NewPtrFetchResponse()
			resp.Version = req.Version
			// a refusal is immediate as well
			if err = resp.ReadFrom(body[1:]); err != nil || resp.ErrorCode != 0 {
				t.Errorf("replica %d: error code %d, %v", replica, resp.ErrorCode, err)
			}
		}
		_ = conn.Close()
	}
	r.finish(t, c.Broker)
}
