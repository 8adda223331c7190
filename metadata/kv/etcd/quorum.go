package etcd

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/varvelog/varve/metadata/kv"
)

// statusTimeout bounds how long a member may take to return its status.
const statusTimeout = 500 * time.Millisecond

// quorum is the state by which a store describes the members of its etcd.
type quorum struct {
	// id returns the id of a member as the cluster knows it.
	id func(*etcdserverpb.Member) int32

	mu struct {
		sync.Mutex
		seen map[uint64]sighting // by the member's own id
	}
}

// sighting is the last known state of a member, for the time when it is silent.
type sighting struct {
	index             int64
	fetched, caughtUp time.Time
}

// only returns the broker's id for the only member.
func only(nodeID int32) func(*etcdserverpb.Member) int32 {
	return func(*etcdserverpb.Member) int32 { return nodeID }
}

// ofBrokers returns the broker id in the name of a member that runs in a broker.
func ofBrokers(m *etcdserverpb.Member) int32 {
	if number, ok := strings.CutPrefix(m.Name, memberPrefix); ok {
		if n, err := strconv.ParseInt(number, 10, 32); err == nil && n >= 0 {
			return int32(n)
		}
	}
	return elsewhere(m)
}

// elsewhere returns the id of a member that runs in no broker.
func elsewhere(m *etcdserverpb.Member) int32 { return kv.ExternalMemberID(m.ID) }

// question asks one member for its status.
type question func(context.Context) (*clientv3.StatusResponse, error)

// DescribeQuorum asks all members for their log positions. A member that does not answer in time is
// described as this store last saw it. DescribeQuorum returns kv.ErrUnavailable if no member that
// answers has a leader.
//
// All members are asked twice. A member whose second answer has what the leader's first answer had
// was caught up before the first question.
func (s *Store) DescribeQuorum(ctx context.Context) (kv.Quorum, error) {
	const what = "describe the members of etcd"
	ctx, cancel := s.begin(ctx)
	defer cancel()
	list, err := s.client.MemberList(ctx)
	if err != nil {
		return kv.Quorum{}, s.wrap(ctx, err, what)
	}
	questions, done, err := s.questions(list.Members)
	if err != nil {
		return kv.Quorum{}, fmt.Errorf("%s: %w", what, err)
	}
	defer done()
	began := time.Now()
	before, questions := ask(ctx, questions) // silent members are not asked again
	after, _ := ask(ctx, questions)
	leader, term := leaderOf(after)
	if leader == 0 {
		return kv.Quorum{}, fmt.Errorf("%s: none that answers has a leader: %w", what, kv.ErrUnavailable)
	}
	mark, known := before[leader]
	s.quorum.note(after, func(index uint64) bool { return known && index >= mark.RaftIndex }, began)
	return s.describe(list.Members, leader, term), nil
}

// questions returns questions that reach all reachable members, some perhaps twice, and a function
// that closes the connections made for them.
func (s *Store) questions(members []*etcdserverpb.Member) (questions []question, done func(), err error) {
	client, done := s.client, func() {}
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.ClientURLs...)
	}
	if own := s.client.Endpoints(); len(own) > 0 {
		// A member may advertise an address that is of no use from here.
		endpoints = append(endpoints, own...)
	} else {
		// In this process: this client asks its own member only.
		questions = append(questions, func(ctx context.Context) (*clientv3.StatusResponse, error) { return s.client.Status(ctx, "") })
		if len(endpoints) == 0 {
			return questions, done, nil
		}
		if client, err = clientv3.New(clientv3.Config{Endpoints: endpoints, DialOptions: credentialsOf(s.tls), Logger: s.client.GetLogger()}); err != nil {
			return nil, nil, err
		}
		done = func() { _ = client.Close() } // the client reports its own context
	}
	slices.Sort(endpoints)
	for _, endpoint := range slices.Compact(endpoints) {
		questions = append(questions, func(ctx context.Context) (*clientv3.StatusResponse, error) { return client.Status(ctx, endpoint) })
	}
	return questions, done, nil
}

// ask asks all questions at the same time. It returns the answers by the id of the answering
// member, and the questions that were answered.
func ask(ctx context.Context, questions []question) (map[uint64]*clientv3.StatusResponse, []question) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	answers := make([]*clientv3.StatusResponse, len(questions))
	var all sync.WaitGroup
	for i, q := range questions {
		all.Go(func() {
			if answer, err := q(ctx); err == nil {
				answers[i] = answer
			}
		})
	}
	all.Wait()
	byMember := map[uint64]*clientv3.StatusResponse{}
	var answered []question
	for i, answer := range answers {
		if answer != nil {
			byMember[answer.Header.MemberId] = answer
			answered = append(answered, questions[i])
		}
	}
	return byMember, answered
}

// leaderOf returns the leader of the newest term that any member knows; 0 if that term has none.
func leaderOf(statuses map[uint64]*clientv3.StatusResponse) (leader, term uint64) {
	for _, status := range statuses {
		if status.RaftTerm > term || status.RaftTerm == term && leader == 0 {
			leader, term = status.Leader, status.RaftTerm
		}
	}
	return leader, term
}

// note records the members' answers. Members with enough entries were caught up at that time.
func (q *quorum) note(statuses map[uint64]*clientv3.StatusResponse, enough func(index uint64) bool, at time.Time) {
	now := time.Now()
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.mu.seen == nil {
		q.mu.seen = map[uint64]sighting{}
	}
	for id, status := range statuses {
		s := q.mu.seen[id]
		s.index, s.fetched = int64(status.RaftIndex), now
		if enough(status.RaftIndex) {
			s.caughtUp = at
		}
		if status.Leader == id {
			s.caughtUp = now
		}
		q.mu.seen[id] = s
	}
}

// describe combines what is known of the members.
func (s *Store) describe(members []*etcdserverpb.Member, leader, term uint64) kv.Quorum {
	d := kv.Quorum{LeaderID: kv.NoLeader, Epoch: int64(term)}
	s.quorum.mu.Lock()
	defer s.quorum.mu.Unlock()
	for _, m := range members {
		seen, known := s.quorum.mu.seen[m.ID]
		if !known {
			seen.index = -1
		}
		// The leader is the first to know what is committed, and may be the one that is silent.
		d.HighWatermark = max(d.HighWatermark, seen.index)
		described := kv.QuorumMember{
			ID: s.quorum.id(m), LogEndOffset: seen.index, LastFetch: seen.fetched, LastCaughtUp: seen.caughtUp,
		}
		for _, endpoint := range m.ClientURLs {
			described.Endpoints = append(described.Endpoints, addressOf(endpoint))
		}
		if m.ID == leader {
			d.LeaderID = described.ID
		}
		if m.IsLearner {
			d.Learners = append(d.Learners, described)
		} else {
			d.Voters = append(d.Voters, described)
		}
	}
	for i := range d.Voters {
		if d.Voters[i].ID == d.LeaderID {
			d.Voters[i].LogEndOffset = d.HighWatermark
		}
	}
	byID := func(a, b kv.QuorumMember) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(d.Voters, byID)
	slices.SortFunc(d.Learners, byID)
	return d
}
