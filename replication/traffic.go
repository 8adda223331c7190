package replication

import (
	"errors"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/tiering"
)

// Traffic counts what passes through one topic's partitions on this broker, from the time the first
// replica of the topic arrived. The partitions share it through a pointer: counting is an atomic
// addition, without a lookup or an allocation.
type Traffic struct {
	BytesIn, MessagesIn      atomic.Int64 // appended as the leader
	BytesOut                 atomic.Int64 // of batches for consumers; followers are not counted
	Produces, FailedProduces atomic.Int64 // partitions in Produce requests
	Fetches, FailedFetches   atomic.Int64 // partitions in Fetch requests, of followers too
	ReplicatedBytes          atomic.Int64 // appended as a follower
	Remote                   tiering.Stats
	topic                    string
	topicID                  metadata.TopicID
}

// Topic returns the name of the topic.
func (t *Traffic) Topic() string { return t.topic }

// Produced counts a partition of a Produce request, with its outcome.
func (t *Traffic) Produced(err error) {
	t.Produces.Add(1)
	if brokerFault(err) {
		t.FailedProduces.Add(1)
	}
}

// fetched counts a partition of a Fetch request, with its outcome.
func (t *Traffic) fetched(result *FetchResult, consumer bool) {
	t.Fetches.Add(1)
	if brokerFault(result.Err) {
		t.FailedFetches.Add(1)
	}
	if n := result.Records.Len(); consumer && n > 0 {
		t.BytesOut.Add(int64(n))
	}
}

// redirections are the errors that make a client ask another broker, or ask for something else. As
// in Kafka they do not count as failures.
var redirections = []error{
	ErrNotLeader, ErrUnknownTopicOrPartition, ErrFencedLeaderEpoch, ErrUnknownLeaderEpoch,
	ErrOffsetOutOfRange, ErrOffsetNotAvailable, ErrOffsetMovedToTier,
}

func brokerFault(err error) bool {
	if err == nil {
		return false
	}
	for _, r := range redirections {
		if errors.Is(err, r) {
			return false
		}
	}
	return true
}

// traffic holds the counters of all topics that have partitions here.
type traffic struct {
	mu   sync.Mutex
	byID map[metadata.TopicID]*Traffic
}

// of returns the counters of a topic, new ones if the topic had no partition here.
func (t *traffic) of(topic string, id metadata.TopicID) *Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.byID[id]; c != nil {
		return c
	}
	c := &Traffic{topic: topic, topicID: id}
	t.byID[id] = c
	return c
}

// keep drops the counters of topics for which needed returns false.
func (t *traffic) keep(needed func(metadata.TopicID) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range t.byID {
		if !needed(id) {
			delete(t.byID, id)
		}
	}
}

func (t *traffic) list() []*Traffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]*Traffic, 0, len(t.byID))
	for _, c := range t.byID {
		list = append(list, c)
	}
	return list
}

// Traffic yields the counters of the topics that have replicas here, in no particular order. While
// one topic replaces another of the same name, it yields both.
func (m *Manager) Traffic() iter.Seq[*Traffic] {
	return func(yield func(*Traffic) bool) {
		for _, c := range m.traffic.list() {
			if !yield(c) {
				return
			}
		}
	}
}

// Traffic returns the counters of the partition's topic.
func (p *Partition) Traffic() *Traffic { return p.traffic }
