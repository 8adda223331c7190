package broker

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/metadata"
)

// listenOn serves the cluster's broker on a TCP port, which becomes broker 1's address.
func (c *testCluster) listenOn(t *testing.T) string {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	c.registerAt(1, metadata.Listener{Name: "PLAINTEXT", Host: host, Port: int32(number), Protocol: "PLAINTEXT"})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // ends after the test itself
	done := make(chan error, 1)
	go func() { done <- c.NewListener("PLAINTEXT", nil).Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// TestFranzGoAdministers: an unmodified client negotiates versions, administers topics and sees the
// result.
func TestFranzGoAdministers(t *testing.T) {
	c := newTestCluster(t, 0, nil)
	client, err := kgo.NewClient(kgo.SeedBrokers(c.listenOn(t)), kgo.RetryTimeout(5*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	created, err := admin.CreateTopic(t.Context(), 3, 1, map[string]*string{"retention.ms": new("60000")}, "x")
	if err != nil {
		t.Fatal(err)
	}
	if created.NumPartitions != 3 || created.ReplicationFactor != 1 || shown(created.Configs["retention.ms"].Value) != "60000" {
		t.Errorf("created %+v", created)
	}
	partitions, err := admin.UpdatePartitions(t.Context(), 5, "x")
	if err != nil || partitions.Error() != nil {
		t.Error(err, partitions.Error())
	}
	altered, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "segment.bytes", Value: new("1048576")}}, "x")
	if err != nil || altered[0].Err != nil {
		t.Error(err, altered)
	}
	configs, err := admin.DescribeTopicConfigs(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	for _, config := range configs[0].Configs {
		if config.Key == "segment.bytes" && shown(config.Value) != "1048576" {
			t.Errorf("segment.bytes is %s", shown(config.Value))
		}
	}
	topics, err := admin.ListTopics(t.Context())
	if err != nil || topics["x"].ID != created.ID || len(topics["x"].Partitions) != 5 || topics["x"].Err != nil {
		t.Errorf("%v, %+v", err, topics)
	}
	brokers, err := admin.ListBrokers(t.Context())
	if err != nil || len(brokers) != 1 || brokers[0].NodeID != 1 {
		t.Errorf("%v, %+v", err, brokers)
	}
	if _, err = admin.DeleteTopic(t.Context(), "x"); err != nil {
		t.Error(err)
	}
	expectLogged(t, c.logs, "level", 0)
}
