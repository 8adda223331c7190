package broker

import (
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/vfs"
)

// asReplica makes a fetch that of a follower.
func asReplica(req *kmsg.FetchRequest, m metadata.Member) *kmsg.FetchRequest {
	if req.Version >= 15 {
		req.ReplicaState.ID, req.ReplicaState.Epoch = m.Broker, m.Epoch
	} else {
		req.ReplicaID = m.Broker
	}
	return req
}

// replicated creates a topic of one partition with a replica on each of the brokers.
func (c *dataCluster) replicated(name string, brokers ...int32) metadata.TopicID {
	c.t.Helper()
	spec := metadata.TopicSpec{Name: name, Assignments: map[int32][]int32{0: brokers}}
	r := c.admin.CreateTopics(c.t.Context(), []metadata.TopicSpec{spec}, false)[0]
	if r.Err == nil {
		r.Err = c.manager.AwaitServed(c.t.Context(), []metadata.TopicID{r.ID})
	}
	if r.Err != nil {
		c.t.Fatal(r.Err)
	}
	return r.ID
}

// TestReplicaFetchesCountFromRegisteredBrokersOnly: a forged fetch would move the high watermark
// over records that the follower does not have, or keep the real follower out of the ISR.
func TestReplicaFetchesCountFromRegisteredBrokersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDataCluster(t, vfs.NewMem())
		id := c.replicated("a", 1, 2)
		if _, err := c.hosted("a", 0).Append(batchOf(t, "v"), 1); err != nil {
			t.Fatal(err)
		}
		epoch := c.loader.Image().Brokers[2].Epoch
		for _, q := range []struct {
			name, listener string // the brokers' listener; the fetch arrives on PLAINTEXT
			version        int16
			as             metadata.Member
			want           protocol.ErrorCode
		}{
			{"another listener", "INTERNAL", 17, metadata.Member{Broker: 2, Epoch: epoch}, protocol.ClusterAuthorizationFailed},
			{"another listener, old version", "INTERNAL", 13, metadata.Member{Broker: 2}, protocol.ClusterAuthorizationFailed},
			{"without an epoch", "PLAINTEXT", 14, metadata.Member{Broker: 2}, protocol.StaleBrokerEpoch},
			{"not registered yet", "PLAINTEXT", 17, metadata.Member{Broker: 2, Epoch: 0}, protocol.StaleBrokerEpoch},
			{"an epoch to come", "PLAINTEXT", 17, metadata.Member{Broker: 2, Epoch: math.MaxInt64}, protocol.StaleBrokerEpoch},
			{"an epoch that has ended", "PLAINTEXT", 17, metadata.Member{Broker: 2, Epoch: epoch - 1}, protocol.StaleBrokerEpoch},
			{"a broker that does not exist", "PLAINTEXT", 17, metadata.Member{Broker: 9, Epoch: epoch}, protocol.StaleBrokerEpoch},
			{"the follower", "PLAINTEXT", 17, metadata.Member{Broker: 2, Epoch: epoch}, protocol.None},
		} {
			req := asReplica(fetchRequest(q.version, "", id, 0), q.as)
			req.MaxWaitMillis, req.Topics[0].Partitions[0].FetchOffset = 100, 1
			c.cfg.InterBrokerListener = q.listener
			resp := c.fetch(req)
			if resp.ErrorCode != int16(q.want) {
				t.Errorf("%s: %v, want %v", q.name, protocol.ErrorCode(resp.ErrorCode), q.want)
			}
			committed := int64(0)
			if q.want == protocol.None {
				committed = 1
			}
			if high := c.hosted("a", 0).HighWatermark(); high != committed {
				t.Errorf("%s: high watermark %d, want %d", q.name, high, committed)
			}
		}
	})
}

// TestReplicaFetchWaitsForItsRegistration: the leader's image may be older than the follower's
// registration.
func TestReplicaFetchWaitsForItsRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDataCluster(t, vfs.NewMem())
		registered := c.register(3)
		id := c.replicated("a", 1, 3)
		again := func() int64 {
			c.stop(registered)
			registered = c.register(3)
			return registered.BrokerEpoch()
		}
		first, second := again(), again()
		// epoch of the next registration
		next := metadata.Member{Broker: 3, Epoch: 2*second - first}
		var fetching sync.WaitGroup
		fetching.Go(func() {
			req := asReplica(fetchRequest(17, "", id, 0), next)
			req.MaxWaitMillis = int32(time.Hour.Milliseconds())
			if resp := c.fetch(req); resp.ErrorCode != 0 {
				t.Errorf("%v", protocol.ErrorCode(resp.ErrorCode))
			}
		})
		synctest.Wait()
		if third := again(); third != next.Epoch {
			t.Fatalf("registered at epochs %d, %d, %d", first, second, third)
		}
		fetching.Wait()
	})
}

// TestFetchOfAMovedPartitionIsAnsweredAtOnce: the consumer has to fetch from another broker,
// although its other partitions are idle.
func TestFetchOfAMovedPartitionIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDataCluster(t, vfs.NewMem())
		c.topic("idle", 1)
		c.assigned("elsewhere", []int32{2})
		for topic, want := range map[string]time.Duration{"elsewhere": 0, "unknown": time.Minute} {
			req := fetchRequest(12, "idle", metadata.TopicID{}, 0)
			req.Topics = append(req.Topics, fetchRequest(12, topic, metadata.TopicID{}, 0).Topics...)
			req.MaxWaitMillis, req.MinBytes = int32(time.Minute.Milliseconds()), 1
			began := time.Now()
			c.fetch(req)
			if took := time.Since(began); took != want {
				t.Errorf("%s: answered after %v, want %v", topic, took, want)
			}
		}
	})
}
