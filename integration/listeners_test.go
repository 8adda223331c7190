package integration

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// withListeners starts three brokers that reach each other at INTERNAL. All but the third also have
// a listener EXTERNAL. It returns the addresses of EXTERNAL, "" for the third; bootstrap is the
// address of INTERNAL.
func withListeners(t *testing.T, flags ...string) (brokers []*process, external []string) {
	t.Helper()
	dir := t.TempDir()
	seeds := make([]string, 3)
	for i := range seeds {
		seeds[i] = fmt.Sprintf("%d=%s", i+1, freeControl(t))
	}
	for i := range seeds {
		p := &process{bootstrap: freeAddress(t), dataDir: filepath.Join(dir, strconv.Itoa(i+1)), log: &syncBuffer{}}
		p.args = append([]string{
			"broker", "start", "--node-id", strconv.Itoa(i + 1), "--seeds", strings.Join(seeds, ","),
			"--data-dir", p.dataDir, "--http", "127.0.0.1:0", "--object-store", "file://" + filepath.Join(dir, "bucket"),
			"--listen", "INTERNAL://" + p.bootstrap, "--set", "inter.broker.listener.name=INTERNAL",
			"--set", "listener.security.protocol.map=INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT",
		}, flags...)
		address := ""
		if i < 2 {
			address = freeAddress(t)
			_, port, _ := net.SplitHostPort(address)
			p.args = append(p.args, "--listen", "EXTERNAL://0.0.0.0:"+port, "--advertise", "INTERNAL://"+p.bootstrap, "--advertise", "EXTERNAL://"+address)
		}
		brokers, external = append(brokers, p), append(external, address)
	}
	startTogether(t, brokers)
	return brokers, external
}

// TestEachListenerTellsItsOwnAddresses asks on both listeners where brokers, leaders and
// coordinators are. Each must return its own addresses. Records written on one listener with
// acks=all, over three replicas, must be readable on the other.
func TestEachListenerTellsItsOwnAddresses(t *testing.T) {
	brokers, external := withListeners(t, "--set", "leader.imbalance.check.interval.seconds=1")
	internal := []string{brokers[0].bootstrap, brokers[1].bootstrap, brokers[2].bootstrap}
	inside, outside := newClient(t, internal[0]), newClient(t, external[0], kgo.MetadataMinAge(10*time.Millisecond))

	created, err := kadm.NewClient(inside).CreateTopic(t.Context(), 3, 3, map[string]*string{"min.insync.replicas": new("3")}, "spread")
	if err != nil {
		t.Fatal(err)
	}
	var leaders []int32
	for _, client := range []*kgo.Client{inside, outside} {
		want := external
		if client == inside {
			want = internal
		}
		address := func(host string, port int32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }
		req := kmsg.NewPtrMetadataRequest()
		req.Topics = append(req.Topics, kmsg.MetadataRequestTopic{Topic: &created.Topic})
		var metadata *kmsg.MetadataResponse
		eventually(t, time.Minute, "the broker that is asked knows the topic", func() bool {
			if metadata, err = req.RequestWith(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			return len(metadata.Topics[0].Partitions) == 3
		})
		got := []string{"", "", ""}
		for _, b := range metadata.Brokers {
			got[b.NodeID-1] = address(b.Host, b.Port)
		}
		if !slices.Equal(got, want) {
			t.Errorf("Metadata: brokers %v, not %v", got, want)
		}
		for _, p := range metadata.Topics[0].Partitions {
			if client == inside {
				leaders = append(leaders, p.Leader)
			}
			code := kerr.ErrorForCode(p.ErrorCode)
			if reachable := want[leaders[p.Partition]-1] != ""; reachable && (code != nil || p.Leader != leaders[p.Partition]) || !reachable && (p.Leader != -1 || !errors.Is(code, kerr.ListenerNotFound)) {
				t.Errorf("Metadata: leader %d of partition %d, %v", p.Leader, p.Partition, code)
			}
		}
		cluster, err := kmsg.NewPtrDescribeClusterRequest().RequestWith(t.Context(), client)
		if err != nil {
			t.Fatal(err)
		}
		got = []string{"", "", ""}
		for _, b := range cluster.Brokers {
			got[b.NodeID-1] = address(b.Host, b.Port)
		}
		if !slices.Equal(got, want) {
			t.Errorf("DescribeCluster: brokers %v, not %v", got, want)
		}
		find := kmsg.NewPtrFindCoordinatorRequest()
		for i := range 30 {
			find.CoordinatorKeys = append(find.CoordinatorKeys, fmt.Sprintf("group-%d", i))
		}
		seeds := kgo.SeedBrokers(want[0])
		one := newClient(t, want[0], seeds)
		eventually(t, time.Minute, "coordinators are known", func() bool {
			answer, err := one.Broker(1).RetriableRequest(t.Context(), find)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[int32]bool{}
			for _, c := range answer.(*kmsg.FindCoordinatorResponse).Coordinators {
				switch {
				case c.ErrorCode == 0 && address(c.Host, c.Port) != want[c.NodeID-1]:
					t.Fatalf("FindCoordinator: %s is at %s:%d of broker %d, not %s", c.Key, c.Host, c.Port, c.NodeID, want[c.NodeID-1])
				case c.ErrorCode == 0:
					seen[c.NodeID] = true
				}
			}
			return seen[1] && seen[2] && seen[3] == (want[2] != "")
		})
	}
	if !slices.Contains(leaders, 3) {
		t.Fatalf("leaders %v: none without the listener", leaders)
	}

	for partition, leader := range leaders {
		if leader == 3 {
			continue
		}
		producer := newClient(t, external[0], kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequiredAcks(kgo.AllISRAcks()))
		record := &kgo.Record{Topic: "spread", Partition: int32(partition), Value: []byte("x")}
		if err := producer.ProduceSync(t.Context(), record).FirstErr(); err != nil {
			t.Fatal(err)
		}
		consumer := newClient(t, internal[0], kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"spread": {int32(partition): kgo.NewOffset().AtStart()}}))
		if got := consumer.PollFetches(t.Context()).Records(); len(got) != 1 || string(got[0].Value) != "x" {
			t.Errorf("partition %d: %v", partition, got)
		}
	}

	// Leadership that a stop has moved must return within the configured interval; the default is
	// five minutes.
	brokers[1].stop(t, syscall.SIGTERM)
	brokers[1].start(t)
	partition := slices.Index(leaders, 2)
	eventually(t, time.Minute, "leadership goes back to the preferred replica", func() bool {
		details, err := kadm.NewClient(inside).ListTopics(t.Context(), "spread")
		return err == nil && details["spread"].Partitions[int32(partition)].Leader == 2
	})
}
