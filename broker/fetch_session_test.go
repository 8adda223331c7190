package broker

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// sessionTest drives fetchSessions as a client would, with a clock that does not advance.
type sessionTest struct {
	*testing.T
	sessions *fetchSessions
	now      time.Time
}

func newSessionTest(t *testing.T, slots int) *sessionTest {
	t.Helper()
	s := &sessionTest{T: t, now: time.Unix(1000, 0)}
	s.sessions = newFetchSessions(slots, func() time.Time { return s.now })
	return s
}

// fetchOf is a request for partitions of the topic "t", each at offset 10 times its number.
func fetchOf(version int16, id, epoch int32, partitions ...int32) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.SetVersion(version)
	req.SessionID, req.SessionEpoch = id, epoch
	if len(partitions) == 0 {
		return req
	}
	topic := kmsg.NewFetchRequestTopic()
	nameTopic(version, &topic.Topic, &topic.TopicID)
	for _, number := range partitions {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = number, int64(10*number), 1000
		topic.Partitions = append(topic.Partitions, p)
	}
	req.Topics = append(req.Topics, topic)
	return req
}

func nameTopic(version int16, name *string, id *[16]byte) {
	if version >= 13 {
		*id = metadata.TopicID{1}
	} else {
		*name = "t"
	}
}

func forget(req *kmsg.FetchRequest, partitions ...int32) *kmsg.FetchRequest {
	topic := kmsg.NewFetchRequestForgottenTopic()
	nameTopic(req.Version, &topic.Topic, &topic.TopicID)
	topic.Partitions = partitions
	req.ForgottenTopics = append(req.ForgottenTopics, topic)
	return req
}

// fetch answers a request; news is the news of each partition.
func (s *sessionTest) fetch(req *kmsg.FetchRequest, news map[int32]fetchNews) (id int32, asked, told []int32, code protocol.ErrorCode) {
	s.Helper()
	c, code := s.sessions.begin(req, nil)
	if code != protocol.None {
		return 0, nil, nil, code
	}
	all := make([]fetchNews, len(c.targets))
	for i, target := range c.targets {
		asked = append(asked, target.partition)
		all[i] = news[target.partition]
	}
	id, include, code := c.finish(all)
	for i, in := range include {
		if in {
			told = append(told, c.targets[i].partition)
		}
	}
	return id, asked, told, code
}

func (s *sessionTest) open(partitions ...int32) int32 {
	s.Helper()
	id, _, _, code := s.fetch(fetchOf(13, 0, 0, partitions...), nil)
	if code != protocol.None {
		s.Fatal(code)
	}
	return id
}

func TestIncrementalFetchTellsOnlyNews(t *testing.T) {
	for _, version := range []int16{7, 12, 13, 18} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			s := newSessionTest(t, 10)
			base := map[int32]fetchNews{1: {highWatermark: 100}, 2: {highWatermark: 200}, 3: {highWatermark: 300, failed: true}}
			id, asked, told, _ := s.fetch(fetchOf(version, 0, 0, 1, 2, 3), base)
			if id == noSession || len(asked) != 3 || len(told) != 3 {
				t.Fatalf("a full fetch gives session %d, asks %v, tells %v", id, asked, told)
			}
			steps := []struct {
				name        string
				req         *kmsg.FetchRequest
				change      map[int32]fetchNews
				asked, told []int32
			}{
				{"error goes on", fetchOf(version, id, 1), nil, []int32{1, 2, 3}, []int32{3}},
				{"error ends", fetchOf(version, id, 2), map[int32]fetchNews{3: {highWatermark: 300}}, []int32{1, 2, 3}, []int32{3}},
				{"no news", fetchOf(version, id, 3), nil, []int32{1, 2, 3}, nil},
				{"high watermark moved", fetchOf(version, id, 4), map[int32]fetchNews{2: {highWatermark: 201}}, []int32{1, 2, 3}, []int32{2}},
				{"log start moved", fetchOf(version, id, 5), map[int32]fetchNews{1: {highWatermark: 100, logStartOffset: 5}}, []int32{1, 2, 3}, []int32{1}},
				{"records", fetchOf(version, id, 6), map[int32]fetchNews{1: {bytes: 7, highWatermark: 100, logStartOffset: 5}}, []int32{1, 2, 3}, []int32{1}},
				{"those with records go last", fetchOf(version, id, 7), map[int32]fetchNews{1: {highWatermark: 100, logStartOffset: 5}}, []int32{2, 3, 1}, nil},
				{"divergence", fetchOf(version, id, 8), map[int32]fetchNews{2: {highWatermark: 201, diverged: true}}, []int32{2, 3, 1}, []int32{2}},
				{"after a divergence", fetchOf(version, id, 9), map[int32]fetchNews{2: {highWatermark: 201}}, []int32{2, 3, 1}, []int32{2}},
				{"added", fetchOf(version, id, 10, 4), map[int32]fetchNews{4: {}}, []int32{2, 3, 1, 4}, []int32{4}},
				{"forgotten", forget(fetchOf(version, id, 11), 3, 99), nil, []int32{2, 1, 4}, nil},
				{"added and forgotten at once", forget(fetchOf(version, id, 12, 5), 5), nil, []int32{2, 1, 4}, nil},
			}
			for _, step := range steps {
				maps.Copy(base, step.change)
				got, asked, told, code := s.fetch(step.req, base)
				if code != protocol.None || got != id || !slices.Equal(asked, step.asked) || !slices.Equal(told, step.told) {
					t.Errorf("%s: %v, session %d of %d, asked %v (want %v), told %v (want %v)",
						step.name, code, got, id, asked, step.asked, told, step.told)
				}
			}
		})
	}
}

func TestIncrementalFetchChangesItsPartitions(t *testing.T) {
	s := newSessionTest(t, 10)
	id := s.open(1, 2)
	req := fetchOf(13, id, 1, 2)
	p := &req.Topics[0].Partitions[0]
	p.FetchOffset, p.PartitionMaxBytes, p.CurrentLeaderEpoch, p.LastFetchedEpoch = 77, 5, 3, 2
	c, code := s.sessions.begin(req, nil)
	if code != protocol.None || len(c.targets) != 2 {
		t.Fatalf("%v, %+v", code, c)
	}
	want := fetchTarget{
		fetchKey: fetchKey{id: metadata.TopicID{1}, partition: 2}, offset: 77, maxBytes: 5, currentLeaderEpoch: 3, lastFetchedEpoch: 2, logStart: -1,
	}
	if c.targets[1] != want {
		t.Errorf("got %+v, want %+v", c.targets[1], want)
	}
	if first := c.targets[0]; first.offset != 10 || first.maxBytes != 1000 {
		t.Errorf("the other partition changed: %+v", first)
	}
}

func TestFetchSessionErrors(t *testing.T) {
	s := newSessionTest(t, 10)
	id := s.open(1)
	byName, _, _, _ := s.fetch(fetchOf(12, 0, 0, 1), nil)
	for _, c := range []struct {
		name string
		req  *kmsg.FetchRequest
		want protocol.ErrorCode
	}{
		{"unknown session", fetchOf(13, id^0x55, 1), protocol.FetchSessionIDNotFound},
		{"epoch too high", fetchOf(13, id, 2), protocol.InvalidFetchSessionEpoch},
		{"names in a session of ids", fetchOf(12, id, 1), protocol.FetchSessionTopicIDError},
		{"ids in a session of names", fetchOf(13, byName, 1), protocol.FetchSessionTopicIDError},
		{"right", fetchOf(13, id, 1), protocol.None},
		{"repeated", fetchOf(13, id, 1), protocol.InvalidFetchSessionEpoch},
		{"closed by a sessionless fetch", fetchOf(13, id, -1), protocol.None},
		{"after that", fetchOf(13, id, 2), protocol.FetchSessionIDNotFound},
		{"closed by a full fetch", fetchOf(12, byName, 0, 1), protocol.None},
		{"after that", fetchOf(12, byName, 1), protocol.FetchSessionIDNotFound},
	} {
		if _, _, _, code := s.fetch(c.req, nil); code != c.want {
			t.Errorf("%s: %v, want %v", c.name, code, c.want)
		}
	}
}

func TestSessionlessFetchOpensNoSession(t *testing.T) {
	s := newSessionTest(t, 10)
	id, asked, told, code := s.fetch(fetchOf(13, 0, -1, 1, 2), nil)
	if id != noSession || len(asked) != 2 || len(told) != 2 || code != protocol.None {
		t.Errorf("session %d, asked %v, told %v, %v", id, asked, told, code)
	}
	if n, _ := s.sessions.size(); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

func TestEmptySessionEnds(t *testing.T) {
	s := newSessionTest(t, 10)
	id := s.open(1)
	got, asked, _, code := s.fetch(forget(fetchOf(13, id, 1), 1), nil)
	if got != noSession || len(asked) != 0 || code != protocol.None {
		t.Errorf("session %d, asked %v, %v", got, asked, code)
	}
	if n, partitions := s.sessions.size(); n != 0 || partitions != 0 {
		t.Errorf("%d sessions with %d partitions are left", n, partitions)
	}
}

// TestOvertakenFetchFails: a client that uses a session on two connections at once gets an error on
// the one that was overtaken.
func TestOvertakenFetchFails(t *testing.T) {
	s := newSessionTest(t, 10)
	id := s.open(1)
	slow, _ := s.sessions.begin(fetchOf(13, id, 1), nil)
	if _, code := s.sessions.begin(fetchOf(13, id, 2), nil); code != protocol.None {
		t.Fatal(code)
	}
	if _, _, code := slow.finish([]fetchNews{{}}); code != protocol.InvalidFetchSessionEpoch {
		t.Errorf("got %v", code)
	}
}

func TestSessionEpochWraps(t *testing.T) {
	if got := nextSessionEpoch(1<<31 - 1); got != 1 {
		t.Errorf("after the last epoch comes %d", got)
	}
	if got := nextSessionEpoch(1); got != 2 {
		t.Errorf("after 1 comes %d", got)
	}
}
