package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/storage"
)

// Produce appends one batch to each partition that it names. Versions 3-13; see refuseProduce for
// 0-2. The batches are appended on the connection's reader, in the order of the requests. The
// response waits for what acks and flush.messages require.
//
//   - v3 (KIP-98): one batch of format v2 for each partition; anything else is INVALID_RECORD.
//   - v7 (KIP-110): zstd; in older versions it is UNSUPPORTED_COMPRESSION_TYPE.
//   - v8 (KIP-467): a text beside a partition's error.
//   - v10 (KIP-951): the current leader, beside NOT_LEADER_OR_FOLLOWER.
//   - v12 (KIP-890): a batch may begin a transaction by itself; no difference here.
//   - v13 (KIP-516): topic ids in place of names.
//   - acks=0 has no response. An error closes the connection, so that the client refreshes its
//     metadata.
//
// Not implemented: transactions. A transactional batch gets INVALID_TXN_STATE with a text, which
// producers treat as final. If the batch is not transactional, a transactional id in the request is
// ignored, as in Kafka. Not implemented: authorization, quotas, the error_records field.
func (b *Broker) produce(_ context.Context, r *Request, req *kmsg.ProduceRequest) stage2 {
	deadline := time.Now().Add(time.Duration(max(req.TimeoutMillis, 0)) * time.Millisecond)
	appends := make([]produced, 0, len(req.Topics))
	for i := range req.Topics {
		topic := &req.Topics[i]
		for j := range topic.Partitions {
			appends = append(appends, b.appendTo(r, req, topic, &topic.Partitions[j]))
		}
	}
	if req.Acks == replication.AcksNone {
		return stage2{ready: true, respond: func(ctx context.Context) kmsg.Response {
			for i := range appends {
				appends[i].count()
				if err := appends[i].err; err != nil {
					b.code(ctx, err) // logged if it has no code
					r.CloseConnection(err.Error())
				}
			}
			return nil
		}}
	}
	pending := pendingOf(appends)
	return stage2{ready: len(pending) == 0, respond: func(ctx context.Context) kmsg.Response {
		waitProduced(ctx, deadline, pending)
		return b.produceResponse(ctx, r, req, appends)
	}}
}

// produced is the outcome for one partition's batch.
type produced struct {
	replication.Appended
	partition *replication.Partition // nil: the partition is not on this broker
	err       error
}

// count adds the outcome to the topic's counters. A topic without a partition on this broker has no
// counters, so names that clients make up cost no memory.
func (a *produced) count() {
	if a.partition != nil {
		a.partition.Traffic().Produced(a.err)
	}
}

// pendingOf returns the appends that are not acknowledged yet: usually none.
func pendingOf(appends []produced) (pending []*produced) {
	for i := range appends {
		if a := &appends[i]; a.err == nil {
			var done bool
			if done, a.err = a.Done(); !done {
				pending = append(pending, a)
			}
		}
	}
	return pending
}

// waitProduced waits for all appends at the same time, until the request's deadline. So a partition
// that is stuck does not delay the outcome of another.
func waitProduced(ctx context.Context, deadline time.Time, pending []*produced) {
	if len(pending) == 0 {
		return
	}
	ctx, cancel := context.WithDeadlineCause(ctx, deadline, context.DeadlineExceeded)
	defer cancel()
	appends := make([]replication.Appended, len(pending))
	for i, a := range pending {
		appends[i] = a.Appended
	}
	replication.Acknowledge(ctx, appends, func(i int, err error) { pending[i].err = err })
}

func (b *Broker) appendTo(r *Request, req *kmsg.ProduceRequest, t *kmsg.ProduceRequestTopic, p *kmsg.ProduceRequestTopicPartition) produced {
	var a produced
	if req.Version >= 13 {
		a.partition, a.err = b.partitionByID(t.TopicID, p.Partition)
	} else {
		a.partition, a.err = b.partitionByName(t.Topic, p.Partition)
	}
	if a.err != nil {
		return a
	}
	if topic := a.partition.TopicPartition().Topic; isInternal(topic) && r.ClientID != adminClientID {
		a.err = fmt.Errorf("append to %s: %w", topic, errInvalidTopic)
		return a
	}
	batch, err := producedBatch(req.Version, p.Records)
	if err != nil {
		a.err = fmt.Errorf("append to %s: %w", a.partition.TopicPartition(), err)
		return a
	}
	a.Appended, a.err = a.partition.Append(batch, req.Acks)
	return a
}

// adminClientID is the one client id that Kafka lets write to internal topics.
const adminClientID = "__admin_client"

// producedBatch returns the batch in a request's records. Trailing bytes that are not a whole batch
// are ignored, as in Kafka.
func producedBatch(version int16, records []byte) (record.Batch, error) {
	batch, rest, err := record.Split(records)
	switch {
	case errors.Is(err, record.ErrTruncated):
		return nil, fmt.Errorf("%w: a partition must have at least one whole record batch", storage.ErrInvalidRecord)
	case errors.Is(err, record.ErrMagic) && oldMagic(records):
		return nil, fmt.Errorf("%w: only record batches of magic 2 are accepted: %w", storage.ErrInvalidRecord, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", storage.ErrCorruptRecord, err)
	case batch.Codec() == record.CodecZstd && version < 7:
		return nil, fmt.Errorf("zstd in Produce v%d: %w", version, errUnsupportedCodec)
	case batch.IsTransactional():
		return nil, fmt.Errorf("transactions are not supported yet: %w", storage.ErrInvalidTxnState)
	}
	if _, _, err = record.Split(rest); err == nil {
		return nil, fmt.Errorf("%w: a partition must have exactly one record batch", storage.ErrInvalidRecord)
	}
	return batch, nil
}

// oldMagic reports whether the records are a message set from before Kafka 0.11, not garbage.
func oldMagic(records []byte) bool {
	magic := int8(records[16]) // record.Split has read this byte
	return magic == 0 || magic == 1
}

func (b *Broker) produceResponse(ctx context.Context, r *Request, req *kmsg.ProduceRequest, appends []produced) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	resp.Topics = make([]kmsg.ProduceResponseTopic, 0, len(req.Topics))
	for i := range req.Topics {
		t := &req.Topics[i]
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = t.Topic, t.TopicID
		topic.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(t.Partitions))
		for j := range t.Partitions {
			answer := &topic.Partitions[j]
			answer.Default()
			answer.Partition = t.Partitions[j].Partition
			appends[0].count()
			b.producedAnswer(ctx, answer, &appends[0])
			if answer.ErrorCode == int16(protocol.NotLeaderOrFollower) && req.Version >= 10 {
				hint := b.leaderOf(t.Topic, t.TopicID, answer.Partition, r.Listener)
				answer.CurrentLeader.LeaderID, answer.CurrentLeader.LeaderEpoch = hint.id, hint.epoch
				addProduceBroker(resp, hint)
			}
			appends = appends[1:]
		}
		resp.Topics = append(resp.Topics, topic)
	}
	return resp
}

func (b *Broker) producedAnswer(ctx context.Context, answer *kmsg.ProduceResponseTopicPartition, a *produced) {
	answer.BaseOffset, answer.LogStartOffset = -1, -1
	if a.err == nil {
		answer.BaseOffset, answer.LogAppendTime, answer.LogStartOffset = a.FirstOffset, a.LogAppendTime, a.LogStartOffset
		return
	}
	answer.ErrorCode = b.code(ctx, a.err)
	code := protocol.ErrorCode(answer.ErrorCode)
	if explains(code) {
		answer.ErrorMessage = new(a.err.Error())
	}
	// From the log start offset a producer learns whether its missing records were deleted or lost.
	switch code {
	case protocol.OutOfOrderSequenceNumber, protocol.InvalidProducerEpoch, protocol.UnknownProducerID, protocol.InvalidRecord, protocol.InvalidTimestamp:
		answer.LogStartOffset = a.partition.Log().StartOffset()
	default:
	}
}

// addProduceBroker adds a hint's broker to the response, once.
func addProduceBroker(resp *kmsg.ProduceResponse, hint leaderHint) {
	if !hint.reachable {
		return
	}
	for i := range resp.Brokers {
		if resp.Brokers[i].NodeID == hint.id {
			return
		}
	}
	broker := kmsg.NewProduceResponseBroker()
	broker.NodeID, broker.Host, broker.Port, broker.Rack = hint.id, hint.endpoint.Host, hint.endpoint.Port, hint.rack
	resp.Brokers = append(resp.Brokers, broker)
}
