package controller

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/metadatatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is the test cluster of the controller's tests.
type cluster struct{ *metadatatest.Cluster }

func newCluster(t *testing.T, store kv.Store) *cluster {
	t.Helper()
	return &cluster{metadatatest.New(t, store)}
}

// moveLeader makes the second member of a-0 lead, although the first could.
func (c *cluster) moveLeader(t *testing.T) {
	t.Helper()
	c.alter(t, "a", 0, func(p *metadata.Partition) { elect(p, p.Members()[1]) })
}

// elect makes a member the leader, as an election does.
func elect(p *metadata.Partition, m metadata.Member) {
	p.Leader, p.LeaderBrokerEpoch = m.Broker, m.Epoch
	p.LeaderEpoch++
	p.PartitionEpoch++
}

// alter writes another state of a partition, and returns the image that shows it.
func (c *cluster) alter(t *testing.T, topic string, n int32, change func(p *metadata.Partition)) *metadata.Image {
	t.Helper()
	revision, err := c.Store.Txn(t.Context(), nil, altered(t, c.Loader.Image(), topic, n, change).Ops...)
	if err != nil {
		t.Fatal(err)
	}
	return c.Wait(t, func(m *metadata.Image) bool { return m.Revision >= revision })
}

// altered returns the change that writes another state of a partition.
func altered(t *testing.T, image *metadata.Image, topic string, n int32, change func(p *metadata.Partition)) metadata.Change {
	t.Helper()
	of, ok := image.TopicByName(topic)
	if !ok {
		t.Fatalf("there is no topic %s", topic)
	}
	before := of.Partitions[n]
	next := metadata.Repaired{Partition: *before, Reason: "a test"}
	change(&next.Partition)
	write, _ := next.Change(of, n, before)
	return write
}

// uncleanElections returns the number that the loader has counted.
func (c *cluster) uncleanElections(t *testing.T) float64 {
	t.Helper()
	families, err := c.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "kafka_controller_controllerstats_uncleanleaderelections_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("unclean elections are not counted")
	return 0
}
