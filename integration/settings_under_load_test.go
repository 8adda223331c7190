package integration

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestSettingsWhileFollowersJoin changes a setting of a topic all the time, so that brokers that
// are far from etcd apply images older than their own writes. Whenever a follower has joined the
// ISR of some partitions, it is frozen, so that only the leader has the following records. Then the
// leader is killed. No acknowledged record may be lost.
func TestSettingsWhileFollowersJoin(t *testing.T) {
	const partitions = 20
	etcd, nats := freeAddress(t), freeAddress(t)
	runEtcd(t, t.TempDir(), etcd)
	runNATS(t, nats)
	far := distance(t, etcd, 40*time.Millisecond)
	brokers := startExternalBy(t, []string{far, far, etcd}, nats)
	everywhere := clusterClient(brokers)
	client := newClient(t, "", everywhere...)
	admin := kadm.NewClient(client)
	createInSync(t, client, "changing", slices.Repeat([][]int32{{1, 2}}, partitions))
	l := startLoad(t, "changing", partitions, 1, 1, 200, 100, everywhere...)
	for i := range 8 {
		l.pipeline(brokers[i%2].bootstrap, 100+i, 20*time.Millisecond)
	}
	l.progress(time.Minute, "at the start")
	witness := client.Broker(3)
	changes := changeSettings(t, witness, "changing", time.Millisecond)
	for round := range testRounds(5, 20) {
		leader, follower := brokers[round%2], brokers[1-round%2]
		follower.kill9(t)
		l.progress(time.Minute, "with one replica")
		follower.start(t)
		awaitJoins(t, witness, "changing", partitions+1+round%3*partitions/4)
		signal(t, follower, syscall.SIGSTOP)
		waitFor(t, 200*time.Millisecond) // until the leader knows it
		leader.kill9(t)
		signal(t, follower, syscall.SIGCONT)
		leader.start(t)
		allInSync(t, admin, "changing", 2)
	}
	t.Logf("a setting was changed %d times", changes())
	l.stop()
	allInSync(t, admin, "changing", 2)
	l.checkReplicas(brokers, admin, nil)
}

// awaitJoins polls without a pause until the given number of replicas of a topic are in sync.
func awaitJoins(t *testing.T, broker kmsg.Requestor, topic string, replicas int) {
	t.Helper()
	for over := time.Now().Add(time.Minute); inSync(t.Context(), broker, topic) < replicas; {
		if time.Now().After(over) {
			t.Fatalf("not within a minute: %d replicas of %s are in sync", replicas, topic)
		}
	}
}

// changeSettings starts to change a setting of the topic that has no effect here, with a pause in
// between. stop ends that and returns the number of accepted changes.
func changeSettings(t *testing.T, to kmsg.Requestor, topic string, pause time.Duration) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	taken, n := 0, 1<<30
	running.Go(func() {
		every(ctx, pause, func() {
			n++
			if changeSetting(ctx, to, topic, "segment.bytes", strconv.Itoa(n)) == nil {
				taken++
			}
		})
	})
	stop = func() int { cancel(); running.Wait(); return taken }
	t.Cleanup(func() { stop() })
	return stop
}

func changeSetting(ctx context.Context, to kmsg.Requestor, topic, name, value string) error {
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	config := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	config.Name, config.Value = name, &value
	resource.Configs = append(resource.Configs, config)
	request.Resources = append(request.Resources, resource)
	response, err := request.RequestWith(ctx, to)
	if err == nil && len(response.Resources) == 1 {
		err = kerr.ErrorForCode(response.Resources[0].ErrorCode)
	}
	return err
}

// inSync counts the in-sync replicas of a topic from the view of one broker; -1 if it does not
// answer.
func inSync(ctx context.Context, broker kmsg.Requestor, topic string) (n int) {
	request := kmsg.NewPtrMetadataRequest()
	named := kmsg.NewMetadataRequestTopic()
	named.Topic = &topic
	request.Topics = append(request.Topics, named)
	response, err := request.RequestWith(ctx, broker)
	if err != nil || len(response.Topics) != 1 {
		return -1
	}
	for _, p := range response.Topics[0].Partitions {
		n += len(p.ISR)
	}
	return n
}
