package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/varvelog/varve/groups"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/runtest"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is broker 1 of two, with real metadata, logs and replicas.
type cluster struct {
	Options
	t      testing.TB
	admin  *metadata.Admin
	loader *metadata.Loader
	asked  []metadata.TopicPartition // requests to broker 2
	other  *metadata.Registration    // of broker 2
}

type fakeGroups []groups.Overview

func (f fakeGroups) Overviews(context.Context) ([]groups.Overview, error) { return f, nil }

func newCluster(t testing.TB) *cluster {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	store := kvtest.NewMemStore()
	t.Cleanup(func() { _ = store.Close() })
	id, err := metadata.EnsureClusterID(t.Context(), store, nil)
	if err != nil {
		t.Fatal(err)
	}
	loader := metadata.NewLoader(metadata.LoaderOptions{Store: store, Logger: logger})
	runtest.Background(t, loader.Run)
	var r *metadata.Registration
	for id := range int32(2) {
		r = metadata.NewRegistration(metadata.RegistrationOptions{
			Store: store, BrokerID: id + 1, DirectoryID: "d" + number(id), Now: time.Now, Logger: logger,
			Listeners: []metadata.Listener{{Name: "PLAINTEXT", Host: "broker", Port: 9092 + id, Protocol: "PLAINTEXT"}},
		})
		epoch, registerErr := r.Register(t.Context())
		if registerErr == nil {
			_, registerErr = loader.WaitRevision(t.Context(), epoch)
		}
		if registerErr != nil {
			t.Fatal(registerErr)
		}
	}
	logs, err := storage.OpenManager(t.Context(), storage.Options{FS: vfs.NewMem(), Dirs: []string{"/data"}, ClusterID: id, NodeID: 1, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = logs.Close() })
	replicas := replication.New(replication.Options{
		BrokerID: 1, Storage: logs, Cluster: loader, Logger: logger,
		Config: func(*metadata.Image, string) replication.Config {
			return replication.Config{Log: storage.DefaultConfig(), MinInSyncReplicas: 1}
		},
		Followers: replication.Followers{BrokerEpoch: func() int64 { return loader.Image().Brokers[1].Epoch }},
	})
	runtest.Background(t, replicas.Run)
	c := &cluster{t: t, other: r, loader: loader, admin: metadata.NewAdmin(metadata.AdminOptions{Store: store, Loader: loader, Now: time.Now})}
	c.Options = Options{
		BrokerID: 1, Listener: "PLAINTEXT", Logger: logger, Image: loader.Image, Replicas: replicas, Groups: fakeGroups{},
		IsController: func() bool { return false }, Partitions: func() bool { return true },
		EndOffsets: func(_ context.Context, _ metadata.Broker, tps []metadata.TopicPartition) (map[metadata.TopicPartition]int64, error) {
			c.asked = append(c.asked, tps...)
			return map[metadata.TopicPartition]int64{tps[0]: 70}, nil
		},
	}
	return c
}

// topic creates a topic; each of its partitions has one replica.
func (c *cluster) topic(name string, on ...int32) {
	c.t.Helper()
	assignments := map[int32][]int32{}
	for i, b := range on {
		assignments[int32(i)] = []int32{b}
	}
	c.assigned(name, assignments)
}

func (c *cluster) assigned(name string, assignments map[int32][]int32) {
	c.t.Helper()
	spec := metadata.TopicSpec{Name: name, Assignments: assignments}
	r := c.admin.CreateTopics(c.t.Context(), []metadata.TopicSpec{spec}, false)[0]
	if r.Err == nil {
		r.Err = c.Replicas.AwaitServed(c.t.Context(), []metadata.TopicID{r.ID})
	}
	if r.Err != nil {
		c.t.Fatal(r.Err)
	}
}

// series returns the series of parts: values by name{label values in the order of their names}.
func series(t *testing.T, parts ...part) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(&Collector{parts}); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			got[f.GetName()+"{"+strings.Join(values, ",")+"}"] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return got
}

// want compares the series whose names have one of the prefixes.
func want(t *testing.T, got, want map[string]float64, prefixes ...string) {
	t.Helper()
	kept := maps.Clone(got)
	maps.DeleteFunc(kept, func(name string, _ float64) bool {
		return !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	})
	if !maps.Equal(kept, want) {
		t.Errorf("got %v\nwant %v", kept, want)
	}
}

func TestPartitionsComeFromTheirLeader(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 1, 2, 1)
	c.topic("b", 2)
	c.assigned("c", map[int32][]int32{0: {2, 1}})
	got := series(t, &partitionCollector{c.Options, 100})
	want(t, got, map[string]float64{"kafka_topic_partition_leader{0,a}": 1, "kafka_topic_partition_leader{2,a}": 1}, "kafka_topic_partition_leader{")
	want(t, got, map[string]float64{"kafka_log_log_size{0,a}": 0, "kafka_log_log_size{2,a}": 0, "kafka_log_log_size{0,c}": 0}, "kafka_log_log_size")
	want(t, got, map[string]float64{"varve_telemetry_omitted_count{partitions}": 0}, "varve_telemetry_omitted_count")
}

func TestControllerTellsOfPartitionsWithoutALeader(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 1, 2)
	c.IsController = func() bool { return true }
	if err := c.other.Deregister(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.loader.Wait(t.Context(), func(m *metadata.Image) bool { return len(m.Brokers) == 1 }); err != nil {
		t.Fatal(err)
	}
	got := series(t, &partitionCollector{c.Options, 100}, clusterCollector{c.Options})
	want(t, got, map[string]float64{
		"kafka_topic_partition_leader{0,a}": 1, "kafka_topic_partition_leader{1,a}": -1, "kafka_controller_kafkacontroller_offlinepartitionscount{}": 1,
		"varve_controller_waitingpartitionscount{}":            1,
		"kafka_controller_kafkacontroller_activebrokercount{}": 1, "kafka_controller_kafkacontroller_fencedbrokercount{}": 1,
		"kafka_topic_partition_under_replicated_partition{0,a}": 0, "kafka_topic_partition_under_replicated_partition{1,a}": 1,
	}, "kafka_topic_partition_leader{", "kafka_topic_partition_under", "kafka_controller_kafkacontroller_offline", "kafka_controller_kafkacontroller_activebroker", "kafka_controller_kafkacontroller_fenced", "varve_controller")
}

func TestTopicsAreBounded(t *testing.T) {
	c := newCluster(t)
	for _, name := range []string{"c", "a", "b"} {
		c.topic(name, 1)
	}
	want(t, series(t, topicCollector{c.Options, 2}), map[string]float64{
		"kafka_server_brokertopicmetrics_bytesin_total{a}": 0, "kafka_server_brokertopicmetrics_bytesin_total{b}": 0,
		"varve_telemetry_omitted_count{topics}": 1,
	}, "kafka_server_brokertopicmetrics_bytesin_total", "varve_")
}

func TestPartitionsAreBounded(t *testing.T) {
	c := newCluster(t)
	c.topic("b", 1, 1, 1)
	c.topic("a", 1, 1)
	got := series(t, &partitionCollector{c.Options, 3})
	want(t, got, map[string]float64{
		"kafka_topic_partition_replicas{0,a}": 1, "kafka_topic_partition_replicas{1,a}": 1, "kafka_topic_partition_replicas{0,b}": 1,
	}, "kafka_topic_partition_replicas")
	want(t, got, map[string]float64{"varve_telemetry_omitted_count{partitions}": 2}, "varve_telemetry_omitted_count")
	c.Partitions = func() bool { return false }
	want(t, series(t, &partitionCollector{c.Options, 3}), map[string]float64{"varve_telemetry_omitted_count{partitions}": 0}, "")
}

func TestOnlyTheControllerTellsOfTheCluster(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 1, 2)
	mine := []string{"kafka_brokers", "kafka_topic_partitions", "kafka_broker_info", "kafka_controller_kafkacontroller_activecontrollercount"}
	want(t, series(t, clusterCollector{c.Options}), map[string]float64{"kafka_controller_kafkacontroller_activecontrollercount{}": 0}, mine...)
	c.IsController = func() bool { return true }
	want(t, series(t, clusterCollector{c.Options}), map[string]float64{
		"kafka_controller_kafkacontroller_activecontrollercount{}": 1, "kafka_brokers{}": 2, "kafka_topic_partitions{a}": 2,
		"kafka_broker_info{broker:9092,1}": 1, "kafka_broker_info{broker:9093,2}": 1,
	}, mine...)
}

// TestLagIsAskedOfTheLeader has a group with offsets in a partition that is here, in two on broker
// 2, which reports one of their ends, and in a topic that was deleted.
func TestLagIsAskedOfTheLeader(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 1, 2, 2)
	tp := func(topic string, partition int32) metadata.TopicPartition {
		return metadata.TopicPartition{Topic: topic, Partition: partition}
	}
	group := groups.Overview{ID: "g", Members: 2, Offsets: map[metadata.TopicPartition]int64{
		tp("a", 0): 0, tp("a", 1): 5, tp("gone", 0): 3,
	}}
	c.Groups = fakeGroups{group, {ID: "h", Members: 1}}
	got := series(t, &groupCollector{o: c.Options, max: 10})
	want(t, got, map[string]float64{
		"kafka_consumergroup_members{g}": 2, "kafka_consumergroup_members{h}": 1,
		"kafka_consumergroup_current_offset{g,0,a}": 0, "kafka_consumergroup_current_offset{g,1,a}": 5, "kafka_consumergroup_current_offset_sum{g,a}": 5,
		"kafka_consumergroup_lag{g,0,a}": 0, "kafka_consumergroup_lag{g,1,a}": 65, "kafka_consumergroup_lag_sum{g,a}": 65,
	}, "kafka_consumergroup")
	if !slices.Equal(c.asked, []metadata.TopicPartition{tp("a", 1)}) {
		t.Errorf("asked for %v", c.asked)
	}

	// A partition whose leader does not answer has no lag, and neither has the sum with it.
	group.Offsets[tp("a", 2)] = 1
	c.EndOffsets = func(context.Context, metadata.Broker, []metadata.TopicPartition) (map[metadata.TopicPartition]int64, error) {
		return nil, errors.New("away")
	}
	want(t, series(t, &groupCollector{o: c.Options, max: 10}), map[string]float64{"kafka_consumergroup_lag{g,0,a}": 0}, "kafka_consumergroup_lag")

	got = series(t, &groupCollector{o: c.Options, max: 1})
	want(t, got, map[string]float64{
		"kafka_consumergroup_current_offset{g,0,a}": 0, "kafka_consumergroup_current_offset_sum{g,a}": 6, "varve_telemetry_omitted_count{groups}": 3,
	}, "kafka_consumergroup_current_offset", "varve_telemetry")
	c.Partitions = func() bool { return false }
	want(t, series(t, &groupCollector{o: c.Options, max: 10}), map[string]float64{"kafka_consumergroup_current_offset_sum{g,a}": 6}, "kafka_consumergroup_current_offset")
}

func TestCollectorIsComplete(t *testing.T) {
	c := newCluster(t)
	c.topic("a", 1)
	registry := prometheus.NewPedanticRegistry() // also checks each series against its description
	registry.MustRegister(New(c.Options))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	types := New(c.Options).Types()
	for _, f := range families {
		if _, ok := types[f.GetName()]; !ok {
			t.Errorf("%s is not among the types", f.GetName())
		}
	}
}

// BenchmarkScrape measures one scrape of a thousand partitions, all led by this broker.
func BenchmarkScrape(b *testing.B) {
	c := newCluster(b)
	c.topic("a", slices.Repeat([]int32{1}, 1000)...)
	registry := prometheus.NewRegistry()
	registry.MustRegister(New(c.Options))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
