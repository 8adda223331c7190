package interbroker

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
)

// fetchVersion is the version of the requests. It has topic ids, the replica's state and directory,
// and incremental sessions.
const fetchVersion = 17

// session is this side's view of the leader's fetch session (KIP-227). The zero value is no
// session. At epoch 0 a request names all partitions.
type session struct {
	id, epoch int32
	sent      map[key]sent
}

// sent is what the leader knows of a partition, and the index of its position in the newest
// request.
type sent struct {
	replication.ReplicaPosition
	at int
}

type key struct {
	topic     metadata.TopicID
	partition int32
}

// Fetch implements replication.LeaderConn.
func (c *Conn) Fetch(ctx context.Context, r *replication.ReplicaFetch) ([]replication.ReplicaFetched, error) {
	for attempt := 0; ; attempt++ {
		resp, err := c.fetch(ctx, r)
		if err != nil {
			return nil, err
		}
		switch code := protocol.ErrorCode(resp.ErrorCode); code {
		case protocol.None:
			return c.taken(resp), nil
		case protocol.FetchSessionIDNotFound, protocol.InvalidFetchSessionEpoch, protocol.FetchSessionTopicIDError:
			c.session = session{}
			if attempt == 0 {
				continue
			}
			return nil, fmt.Errorf("fetch from broker %d: %s", c.broker.ID, code)
		default:
			c.drop()
			return nil, fmt.Errorf("fetch from broker %d: %s", c.broker.ID, code)
		}
	}
}

func (c *Conn) fetch(ctx context.Context, r *replication.ReplicaFetch) (*kmsg.FetchResponse, error) {
	req := kmsg.NewPtrFetchRequest()
	req.Version = fetchVersion
	req.ReplicaState.ID, req.ReplicaState.Epoch = r.Replica.Broker, r.Replica.Epoch
	req.MaxWaitMillis = int32(r.MaxWait / time.Millisecond)
	req.MinBytes, req.MaxBytes = r.MinBytes, r.MaxBytes
	c.session.ask(req, r.Positions)
	if c.pending.takeHurry() {
		req.MaxWaitMillis = 0
	}
	body, err := c.exchange(ctx, req, &r.Replica)
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind().(*kmsg.FetchResponse)
	if err = resp.ReadFrom(body); err != nil {
		c.drop()
		return nil, fmt.Errorf("fetch from broker %d: read the answer: %w", c.broker.ID, err)
	}
	if c.session.epoch == 0 {
		c.session.id = resp.SessionID
	}
	if c.session.id == 0 {
		c.session.epoch = 0 // the leader keeps no session: name all partitions again
	} else {
		c.session.epoch++
	}
	return resp, nil
}

// ask adds to a request the positions that the leader does not know yet.
func (s *session) ask(req *kmsg.FetchRequest, positions []replication.ReplicaPosition) {
	req.SessionID, req.SessionEpoch = s.id, s.epoch
	if s.sent == nil {
		s.sent = make(map[key]sent, len(positions))
	}
	topics := map[metadata.TopicID]int{}
	for i, at := range positions {
		k := key{at.TopicID, at.Partition}
		known, ok := s.sent[k]
		s.sent[k] = sent{at, i}
		if ok && known.ReplicaPosition == at && s.epoch > 0 {
			continue
		}
		place, ok := topics[at.TopicID]
		if !ok {
			place = len(req.Topics)
			topics[at.TopicID] = place
			t := kmsg.NewFetchRequestTopic()
			t.TopicID = at.TopicID
			req.Topics = append(req.Topics, t)
		}
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.LogStartOffset = at.Partition, at.Offset, at.LogStart
		p.CurrentLeaderEpoch, p.LastFetchedEpoch, p.PartitionMaxBytes = at.LeaderEpoch, at.LastFetchedEpoch, at.MaxBytes
		p.ReplicaDirectoryID = at.Directory
		req.Topics[place].Partitions = append(req.Topics[place].Partitions, p)
	}
	if len(s.sent) > len(positions) {
		s.forget(req, positions)
	}
}

// forget removes partitions from the session that are no longer requested.
func (s *session) forget(req *kmsg.FetchRequest, positions []replication.ReplicaPosition) {
	asked := make(map[key]bool, len(positions))
	for _, at := range positions {
		asked[key{at.TopicID, at.Partition}] = true
	}
	for k := range s.sent {
		if asked[k] {
			continue
		}
		delete(s.sent, k)
		if s.epoch == 0 {
			continue
		}
		t := kmsg.NewFetchRequestForgottenTopic()
		t.TopicID, t.Partitions = k.topic, []int32{k.partition}
		req.ForgottenTopics = append(req.ForgottenTopics, t)
	}
}

// taken converts the answer.
func (c *Conn) taken(resp *kmsg.FetchResponse) []replication.ReplicaFetched {
	c.fetched = c.fetched[:0]
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			k := key{t.TopicID, p.Partition}
			asked, ok := c.session.sent[k]
			if !ok {
				continue // not requested
			}
			f := replication.ReplicaFetched{
				At: asked.at, Err: partitionError(protocol.ErrorCode(p.ErrorCode)),
				HighWatermark: p.HighWatermark, LogStart: p.LogStartOffset, RemoteEnd: protocol.ReadRemoteEnd(&p.UnknownTags), Records: p.RecordBatches,
			}
			if p.DivergingEpoch.EndOffset >= 0 || p.DivergingEpoch.Epoch >= 0 {
				f.Diverging = &replication.EpochEnd{Epoch: p.DivergingEpoch.Epoch, EndOffset: p.DivergingEpoch.EndOffset}
			}
			if f.Err != nil {
				c.session.sent[k] = sent{} // named again in the next request, or forgotten
			}
			c.fetched = append(c.fetched, f)
		}
	}
	return c.fetched
}

// partitionError converts a partition's error code to an error of package replication.
func partitionError(code protocol.ErrorCode) error {
	switch code {
	case protocol.None:
		return nil
	case protocol.OffsetOutOfRange:
		return replication.ErrOffsetOutOfRange
	case protocol.OffsetMovedToTieredStorage:
		return replication.ErrOffsetMovedToTier
	case protocol.NotLeaderOrFollower:
		return replication.ErrNotLeader
	case protocol.FencedLeaderEpoch:
		return replication.ErrFencedLeaderEpoch
	case protocol.UnknownLeaderEpoch:
		return replication.ErrUnknownLeaderEpoch
	case protocol.UnknownTopicOrPartition, protocol.UnknownTopicID:
		return replication.ErrUnknownTopicOrPartition
	default:
		return fmt.Errorf("the leader answers %s", code)
	}
}
