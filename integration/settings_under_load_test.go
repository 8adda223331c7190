package integration

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestSettingsWhileFollowersJoin changes a setting of a topic all the time, so that brokers apply images again and again, and kills the leader at the
// moment at which the other replica is in sync again on some partitions: nothing acknowledged is lost with the leader.
func TestSettingsWhileFollowersJoin(t *testing.T) {
	const partitions, written = 400, 40 // a topic with many partitions takes a leader long to look through
	brokers := startCluster(t)
	everywhere := clusterClient(brokers)
	client := newClient(t, "", everywhere...)
	admin := kadm.NewClient(client)
	replicas := make([][]int32, partitions)
	for i := range replicas {
		replicas[i] = []int32{1, 2}
	}
	createPlaced(t, client, "changing", replicas, "remote.storage.enable", "false")
	allInSync(t, admin, "changing", 2)
	l := startLoad(t, "changing", written, 1, 1, 200, 100, everywhere...)
	for i := range 8 {
		l.pipeline(brokers[i%2].bootstrap, 100+i, 20*time.Millisecond)
	}
	l.progress(time.Minute, "at the start")
	witness := newClient(t, brokers[2].bootstrap)
	changes := changeSettings(t, witness, "changing", time.Millisecond)
	for round := range testRounds(4, 16) {
		leader, follower := brokers[round%2], brokers[1-round%2]
		follower.kill9(t)
		l.progress(time.Minute, "with one replica")
		follower.start(t)
		wanted := []int{1, partitions / 4, partitions / 2}[round%3]
		eventually(t, time.Minute, "the follower joins", func() bool { return inSync(t, witness, "changing") >= partitions+wanted })
		leader.kill9(t)
		leader.start(t)
		allInSync(t, admin, "changing", 2)
	}
	t.Logf("a setting was changed %d times", changes())
	l.stop()
	allInSync(t, admin, "changing", 2)
	l.checkReplicas(brokers, admin)
}

// changeSettings begins to change a setting of the topic that means nothing here, every so often. The function ends it, and returns how many
// changes were taken.
func changeSettings(t *testing.T, client *kgo.Client, topic string, every time.Duration) (stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	taken := 0
	admin := kadm.NewClient(client)
	running.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			value := strconv.Itoa(1<<30 + n)
			altered, err := admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Name: "segment.bytes", Value: &value}}, topic)
			if err == nil && len(altered) == 1 && altered[0].Err == nil {
				taken++
			}
		}
	})
	stop = func() int { cancel(); running.Wait(); return taken }
	t.Cleanup(func() { stop() })
	return stop
}

// inSync counts the in-sync replicas of a topic.
func inSync(t *testing.T, client *kgo.Client, topic string) (n int) {
	t.Helper()
	topics, err := kadm.NewClient(client).ListTopics(t.Context(), topic)
	if err != nil {
		return 0
	}
	for _, p := range topics[topic].Partitions {
		n += len(p.ISR)
	}
	return n
}
