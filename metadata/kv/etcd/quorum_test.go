package etcd

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/runtest"
)

// describe describes the quorum as soon as the given number of voters have caught up with the
// leader, and fails if they never do.
func describe(t *testing.T, s *Store, voters int) kv.Quorum {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		asked := time.Now()
		q, err := s.DescribeQuorum(t.Context())
		if err != nil && !errors.Is(err, kv.ErrUnavailable) {
			t.Fatal(err)
		}
		caughtUp := 0
		for _, v := range q.Voters {
			if !v.LastCaughtUp.Before(asked) && v.LogEndOffset > 0 {
				caughtUp++
			}
		}
		if err == nil && caughtUp == voters {
			return q
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d voters are not caught up: %+v, %v", voters, q, err)
		}
	}
}

func TestQuorumOfTheOnlyMember(t *testing.T) {
	t.Parallel()
	s, err := OpenEmbedded(t.Context(), EmbeddedOptions{Dir: t.TempDir(), Cluster: "test", NodeID: 7, Logger: runtest.Logger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	before := describe(t, s, 1)
	if before.LeaderID != 7 || before.Voters[0].ID != 7 || len(before.Voters[0].Endpoints) != 0 || before.Epoch <= 0 {
		t.Errorf("%+v", before)
	}
	write(t, s, "k")
	if after := describe(t, s, 1); after.HighWatermark <= before.HighWatermark || after.Voters[0].LogEndOffset != after.HighWatermark {
		t.Errorf("after a write: %+v, before %+v", after, before)
	}
}

// describeLed is describe, for three members, as soon as it has the leader that the first one
// follows.
func describeLed(t *testing.T, m *members, s *Store) kv.Quorum {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		q := describe(t, s, 3)
		if m.stores[0].member.Leader() != 0 && m.stores[0].leads(memberNameOf(q.LeaderID)) {
			return q
		}
		if time.Now().After(deadline) {
			t.Fatalf("the first member follows another leader: %+v", q)
		}
	}
}

// TestQuorumOfThree asks each member, and a broker without one. A member that stops is shown in its
// last known state; without a majority there is nothing to show.
func TestQuorumOfThree(t *testing.T) {
	t.Parallel()
	m := openMembers(t)
	if t.Failed() {
		t.FailNow()
	}
	client := Options{Brokers: true}
	for _, p := range m.peers {
		u, err := p.url("http", 1)
		if err != nil {
			t.Fatal(err)
		}
		client.Endpoints = append(client.Endpoints, u)
	}
	outside := openExternal(t, client)
	for _, s := range append([]*Store{outside}, m.stores[:]...) {
		q := describeLed(t, m, s)
		for i, v := range q.Voters {
			u, _ := m.peers[i].url("http", 1)
			if v.ID != m.peers[i].NodeID || len(v.Endpoints) != 1 || v.Endpoints[0] != addressOf(u) || v.LogEndOffset > q.HighWatermark || v.LogEndOffset < q.HighWatermark-100 {
				t.Errorf("voter %d: %+v of %+v", i, v, q)
			}
			if v.ID == q.LeaderID && v.LogEndOffset != q.HighWatermark {
				t.Errorf("the leader's end is %d, the high watermark %d", v.LogEndOffset, q.HighWatermark)
			}
		}
	}

	stop := func(i int) {
		closeStore(t, m.stores[i])
		m.stores[i] = nil
	}
	last := describe(t, m.stores[0], 3)
	stop(2)
	stopped := time.Now()
	if _, err := m.stores[0].Txn(t.Context(), nil, kv.Put("k", nil)); err != nil && !errors.Is(err, kv.ErrUnavailable) {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		q, err := m.stores[0].DescribeQuorum(t.Context())
		if err == nil && q.LeaderID != 3 && len(q.Voters) == 3 && q.HighWatermark > last.HighWatermark {
			gone := q.Voters[2]
			if gone.ID != 3 || gone.LogEndOffset < 0 || gone.LogEndOffset >= q.HighWatermark || gone.LastFetch.IsZero() || gone.LastFetch.After(stopped) {
				t.Errorf("a member that is gone: %+v of %+v", gone, q)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v, %v", q, err)
		}
	}
	stop(1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if q, err := m.stores[0].DescribeQuorum(ctx); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("without a majority: %+v, %v", q, err)
	}
}

// TestMemberThatLagsIsNotCaughtUp: one member answers and does not have what the leader had, one
// has never answered, and one is a learner.
func TestMemberThatLagsIsNotCaughtUp(t *testing.T) {
	t.Parallel()
	status := func(id, leader, term, index uint64) *clientv3.StatusResponse {
		return &clientv3.StatusResponse{Header: &etcdserverpb.ResponseHeader{MemberId: id}, Leader: leader, RaftTerm: term, RaftIndex: index}
	}
	s := &Store{}
	s.quorum.id = func(m *etcdserverpb.Member) int32 { return int32(m.ID) }
	members := []*etcdserverpb.Member{{ID: 4}, {ID: 3}, {ID: 2}, {ID: 1}, {ID: 5, IsLearner: true}}
	once := time.Now().Add(-time.Hour)
	enough := func(index uint64) bool { return index >= 100 }
	s.quorum.note(map[uint64]*clientv3.StatusResponse{2: status(2, 1, 7, 100), 3: status(3, 1, 7, 100)}, enough, once)
	enough = func(index uint64) bool { return index >= 200 }
	newest := map[uint64]*clientv3.StatusResponse{1: status(1, 1, 7, 203), 2: status(2, 1, 7, 199), 3: status(3, 9, 6, 200), 5: status(5, 1, 7, 200)}
	at := time.Now()
	s.quorum.note(newest, enough, at)
	leader, term := leaderOf(newest)
	q := s.describe(members, leader, term)
	if q.LeaderID != 1 || q.Epoch != 7 || q.HighWatermark != 203 || len(q.Voters) != 4 || len(q.Learners) != 1 || q.Learners[0].ID != 5 {
		t.Fatalf("%+v", q)
	}
	for i, want := range []kv.QuorumMember{{ID: 1, LogEndOffset: 203}, {ID: 2, LogEndOffset: 199, LastCaughtUp: once}, {ID: 3, LogEndOffset: 200, LastCaughtUp: at}, {ID: 4, LogEndOffset: -1}} {
		v := q.Voters[i]
		if v.ID != want.ID || v.LogEndOffset != want.LogEndOffset || i > 0 && !v.LastCaughtUp.Equal(want.LastCaughtUp) || i == 0 && v.LastCaughtUp.Before(at) || v.LastFetch.IsZero() != (i == 3) {
			t.Errorf("%+v, not %+v", v, want)
		}
	}
}

// TestQuorumOfAnExternalEtcd: the ids are ids that no broker has, and the same after each start.
func TestQuorumOfAnExternalEtcd(t *testing.T) {
	t.Parallel()
	address, dir := freePort(t), t.TempDir()
	stop := external(t, dir, address, nil)
	first := describe(t, openExternal(t, Options{Endpoints: []string{address}}), 1)
	if id := first.Voters[0].ID; id < 1<<30 || first.LeaderID != id || first.Voters[0].Endpoints[0] != address {
		t.Errorf("%+v", first)
	}
	stop()
	external(t, dir, address, nil)
	if again := describe(t, openExternal(t, Options{Endpoints: []string{address}}), 1); again.LeaderID != first.LeaderID || again.Epoch <= first.Epoch {
		t.Errorf("%+v after a restart, %+v before", again, first)
	}
}
