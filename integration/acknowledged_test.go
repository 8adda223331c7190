package integration

import (
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestAnswersWhileOneReplicaHangs freezes a broker that follows two partitions, while the leaders
// of other partitions move between the two healthy brokers. Each request names all partitions, so
// the verdict on a partition that has moved waits after one that hangs. Every acknowledged record
// must be on every replica.
func TestAnswersWhileOneReplicaHangs(t *testing.T) {
	brokers := startCluster(t)
	everywhere := clusterClient(brokers[:2]) // the third one will not answer
	client := newClient(t, "", everywhere...)
	admin := kadm.NewClient(client)
	replicas := [][]int32{{1, 3}, {2, 3}}
	moving := map[int32][]int32{}
	for number := int32(2); number < 8; number++ {
		on := []int32{1, 2}
		moving[number] = on
		replicas = append(replicas, on)
	}
	createInSync(t, client, "moving", replicas)
	// The requests of these clients wait for the broker that hangs.
	patient := append(clusterClient(brokers[:2]), kgo.ProduceRequestTimeout(20*time.Second))
	l := startLoad(t, "moving", int32(len(replicas)), 8, 1, 100, 100, patient...)
	for i := range 16 {
		l.pipeline(brokers[i%2].bootstrap, 100+i, 60*time.Millisecond)
	}
	l.progress(time.Minute, "at the start")
	// Any broker accepts these requests. The client would send them to the controller, which may be
	// the frozen broker.
	moves := moveLeaders(t, client.Broker(1), "moving", moving, 50*time.Millisecond)
	for range testRounds(2, 6) {
		freezePastLease(t, brokers[2])
		allInSync(t, admin, "moving", 2)
	}
	moves.stop()
	if n := moves.moved.Load(); n < 50 {
		t.Errorf("leadership moved %d times only: the test has tested little", n)
	}
	t.Logf("leadership moved %d times", moves.moved.Load())
	l.stop()
	allInSync(t, admin, "moving", 2)
	l.checkReplicas(brokers, admin, nil)
}

// freezePastLease freezes a broker long enough to be fenced.
func freezePastLease(t *testing.T, p *process) {
	t.Helper()
	signal(t, p, syscall.SIGSTOP)
	waitFor(t, leaseTTL+2*time.Second)
	signal(t, p, syscall.SIGCONT)
}
