package integration

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// unrest does what operators do to a cluster, all the time. It elects preferred leaders every
// second, reassigns replicas and changes settings of one topic, and deletes records of another.
type unrest struct {
	t       *testing.T
	client  *kgo.Client
	admin   *kadm.Client
	random  *rand.Rand
	cancel  context.CancelFunc
	running sync.WaitGroup
	moving  sync.Mutex // held while replicas move, or must not move

	partitions []int32
	topic      string
	shortened  string
	changes    func() int
	elections  int
	moves      int
	// deleted is, by partition, the offset below which records were or may have been deleted. It
	// may be read after stop.
	deleted map[int32]int64
}

// startUnrest starts the unrest. Each replica set of the topic is then on three brokers, or on two.
func startUnrest(t *testing.T, client *kgo.Client, seed uint64, topic, shortened string) *unrest {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	u := &unrest{
		t: t, client: client, admin: kadm.NewClient(client), random: rand.New(rand.NewPCG(seed, 1)), cancel: cancel,
		topic: topic, shortened: shortened, deleted: map[int32]int64{},
	}
	topics, err := u.admin.ListTopics(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	u.partitions = topics[topic].Partitions.Numbers()
	u.changes = changeSettings(t, client, topic, 200*time.Millisecond)
	u.running.Go(func() {
		every(ctx, time.Second, func() {
			if moved, electErr := electPreferred(ctx, client); electErr == nil {
				u.elections += moved
			}
		})
	})
	u.running.Go(func() { every(ctx, 500*time.Millisecond, func() { u.move(ctx) }) })
	u.running.Go(func() { every(ctx, time.Second, func() { u.delete(ctx) }) })
	t.Cleanup(func() { cancel(); u.running.Wait() })
	return u
}

// every calls do at an interval until the context ends.
func every(ctx context.Context, pause time.Duration, do func()) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			do()
		case <-ctx.Done():
			return
		}
	}
}

// move gives one partition other replicas, or another order of them. It may fail under faults.
func (u *unrest) move(ctx context.Context) {
	u.moving.Lock()
	defer u.moving.Unlock()
	on := []int32{1, 2, 3}
	u.random.Shuffle(len(on), func(i, j int) { on[i], on[j] = on[j], on[i] })
	on = on[:2+u.random.IntN(2)]
	if reassign(ctx, u.client, u.topic, u.partitions[u.random.IntN(len(u.partitions))], on) == nil {
		u.moves++
	}
}

// delete deletes all committed records of every partition of the other topic, and records the
// offsets even if that fails.
func (u *unrest) delete(ctx context.Context) {
	ends, err := u.admin.ListEndOffsets(ctx, u.shortened)
	if err != nil {
		return
	}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Err != nil {
			return
		}
		u.deleted[o.Partition] = max(u.deleted[o.Partition], o.Offset)
		below := kadm.Offsets{}
		below.AddOffset(u.shortened, o.Partition, o.Offset, -1)
		_, _ = u.admin.DeleteRecords(ctx, below) // even if it fails, no more than that is deleted
	})
}

// stop ends the unrest and puts every partition on all brokers again.
func (u *unrest) stop() {
	u.t.Helper()
	u.cancel()
	u.running.Wait()
	u.t.Logf("%d preferred elections, %d reassignments, %d changes of a setting; deleted up to %v",
		u.elections, u.moves, u.changes(), u.deleted)
	for _, number := range u.partitions {
		first := number % 3
		on := []int32{first + 1, (first+1)%3 + 1, (first+2)%3 + 1}
		eventually(u.t, time.Minute, "replicas are on all brokers", func() bool {
			return reassign(u.t.Context(), u.client, u.topic, number, on) == nil
		})
	}
}
