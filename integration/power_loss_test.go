package integration

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// TestPowerLossOfAll takes the power from all brokers at the same time, again and again, under a
// topic that is flushed at every message. No record acknowledged with acks=all may be lost,
// whichever broker leads afterward.
func TestPowerLossOfAll(t *testing.T) {
	const partitions = 3
	brokers := startPowered(t)
	everywhere := clusterClient(brokers)
	client := newClient(t, "", everywhere...)
	admin := kadm.NewClient(client)
	createInSync(t, client, "flushed", spread(partitions), "flush.messages", "1", "min.insync.replicas", "2")
	l := startLoad(t, "flushed", partitions, 2, 1, 200, 100, everywhere...)
	l.pipelines(brokers, 20*time.Millisecond)
	for round := range testRounds(2, 10) {
		l.progress(time.Minute, fmt.Sprintf("before power loss %d", round+1))
		together(brokers, func(p *process) { p.losePower(t) })
		together(brokers, func(p *process) { p.start(t) })
	}
	l.progress(time.Minute, "at the end")
	allInSync(t, admin, "flushed", 3)
	l.stop()
	l.checkReplicas(brokers, admin, nil)
}

// TestWholeReplicaIsWaitedFor freezes one of two replicas and takes the power from the other, which
// loses its unflushed data and returns first. The frozen one has all acknowledged records, because
// two replicas had to be in sync: it must lead, however long it takes to return.
func TestWholeReplicaIsWaitedFor(t *testing.T) {
	const partitions = 4
	brokers := startPowered(t)
	crashes, whole := brokers[0], brokers[1]
	everywhere := clusterClient(brokers)
	client := newClient(t, "", everywhere...)
	admin := kadm.NewClient(client)
	witness := client.Broker(3)
	createInSync(t, client, "unflushed", [][]int32{{1, 2}, {1, 2}, {2, 1}, {2, 1}}, "min.insync.replicas", "2")
	l := startLoad(t, "unflushed", partitions, 2, 0, 200, 100, everywhere...)
	for range testRounds(1, 5) {
		l.progress(time.Minute, "with two replicas")
		signal(t, whole, syscall.SIGSTOP)
		eventually(t, time.Minute, "the frozen one is out", func() bool { return inSync(t.Context(), witness, "unflushed") == partitions })
		if bytes, names := crashes.losePower(t); bytes == 0 && names == 0 {
			t.Error("all was flushed: the test has tested nothing")
		}
		crashes.start(t)
		signal(t, whole, syscall.SIGCONT)
		allInSync(t, admin, "unflushed", 2)
	}
	l.progress(time.Minute, "at the end")
	l.stop()
	allInSync(t, admin, "unflushed", 2)
	l.checkReplicas(brokers, admin, nil)
}
