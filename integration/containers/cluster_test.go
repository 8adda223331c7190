package containers

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	tcnetwork "github.com/testcontainers/testcontainers-go/network"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/bucketadmin"
)

const (
	brokers  = 3
	s3Key    = "varve-containers"
	s3Secret = "varve-containers-secret"
	bucket   = "varve"
)

// cluster is three brokers with etcd, NATS and an S3 server.
type cluster struct {
	nodes     map[int32]*node // by node id
	bootstrap []string
	bucket    objstore.Bucket // as seen from the host
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	net, err := tcnetwork.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if removeErr := net.Remove(context.WithoutCancel(t.Context())); removeErr != nil {
			t.Error(removeErr)
		}
	})
	startNode(t, net, "etcd", etcdImage, "/health", []published{{"2379", ""}}, testcontainers.WithCmd(
		"--listen-client-urls", "http://0.0.0.0:2379", "--advertise-client-urls", "http://etcd:2379"))
	startNode(t, net, "nats", natsImage, "/healthz", []published{{"8222", ""}})
	s3 := startNode(t, net, "s3", s3Image, "/health", []published{{"7070", ""}},
		testcontainers.WithEnv(map[string]string{"ROOT_ACCESS_KEY": s3Key, "ROOT_SECRET_KEY": s3Secret}),
		testcontainers.WithCmd("--quiet", "--health", "/health", "--port", ":7070", "--region", "us-east-1", "posix", "--sidecar", "/metadata", "/objects"))
	endpoint, err := s3.PortEndpoint(t.Context(), "7070/tcp", "http")
	if err != nil {
		t.Fatal(err)
	}
	server := bucketadmin.Server{Endpoint: endpoint, Region: "us-east-1", AccessKey: s3Key, SecretKey: s3Secret}
	if err = server.EnsureBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
	c := &cluster{nodes: map[int32]*node{}}
	if c.bucket, err = objstore.Open(t.Context(), "s3://"+bucket+"?path_style=true&endpoint="+endpoint); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if closeErr := c.bucket.Close(); closeErr != nil {
			t.Error(closeErr)
		}
	})
	for id := range int32(brokers) {
		c.startBroker(t, net, id+1)
	}
	return c
}

// startBroker starts a broker with two listeners. Brokers use INTERNAL, by the broker's name on the
// network. The host uses EXTERNAL, by the published port.
func (c *cluster) startBroker(t *testing.T, net *testcontainers.DockerNetwork, id int32) {
	t.Helper()
	name, port := fmt.Sprintf("broker-%d", id), freePort(t)
	c.bootstrap = append(c.bootstrap, "127.0.0.1:"+port)
	c.nodes[id] = startNode(t, net, name, varveImage, "/readyz", []published{{"9644", ""}, {"9092", port}},
		testcontainers.WithEnv(map[string]string{
			"VARVE_NODE_ID":      fmt.Sprint(id),
			"VARVE_ETCD":         "http://etcd:2379",
			"VARVE_NATS":         "nats://nats:4222",
			"VARVE_OBJECT_STORE": "s3://" + bucket + "?path_style=true&endpoint=http://s3:7070",
			"VARVE_LISTEN":       "INTERNAL://0.0.0.0:9094,EXTERNAL://0.0.0.0:9092",
			"VARVE_ADVERTISE":    "INTERNAL://" + name + ":9094,EXTERNAL://127.0.0.1:" + port,
			"VARVE_SET": "listener.security.protocol.map=INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT inter.broker.listener.name=INTERNAL" +
				" remote.log.manager.task.interval.ms=300 log.retention.check.interval.ms=300",
			"AWS_ACCESS_KEY_ID": s3Key, "AWS_SECRET_ACCESS_KEY": s3Secret, "AWS_REGION": "us-east-1",
		}))
}

// newClient returns a client on the host.
func newClient(t *testing.T, bootstrap []string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(bootstrap...), kgo.MetadataMinAge(100 * time.Millisecond), kgo.DialTimeout(2 * time.Second),
		kgo.RequestTimeoutOverhead(3 * time.Second), kgo.ProduceRequestTimeout(3 * time.Second), kgo.RetryTimeout(patience),
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
	}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func createTopic(t *testing.T, client *kgo.Client, topic string, partitions int32, replicas int16, settings map[string]*string) {
	t.Helper()
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), partitions, replicas, settings, topic); err != nil {
		t.Fatalf("create topic %s: %v", topic, err)
	}
}

// produceSome writes n numbered records to partition 0 and waits for their acknowledgements.
func produceSome(t *testing.T, client *kgo.Client, topic string, n int) {
	t.Helper()
	records := make([]*kgo.Record, n)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%099d", i)}
	}
	if err := client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatalf("produce to %s: %v", topic, err)
	}
}

// partitionOf returns the current description of partition p of the topic.
func partitionOf(ctx context.Context, client *kgo.Client, topic string, p int32) (kadm.PartitionDetail, error) {
	topics, err := kadm.NewClient(client).ListTopics(ctx, topic)
	if err != nil {
		return kadm.PartitionDetail{}, err
	}
	detail := topics[topic].Partitions[p]
	return detail, detail.Err
}

// allInSync waits until all replicas of every partition are in sync.
func (c *cluster) allInSync(t *testing.T, client *kgo.Client, topic string, partitions int32) {
	t.Helper()
	eventually(t, "all replicas are in sync", func() error {
		for p := range partitions {
			detail, err := partitionOf(t.Context(), client, topic, p)
			if err == nil && (len(detail.ISR) < brokers || detail.Leader < 0) {
				err = fmt.Errorf("partition %d: leader %d, in sync %v", p, detail.Leader, detail.ISR)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
