package broker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
)

// Fetch reads batches from partitions and waits until there are enough. Versions 4-18.
//
//   - v4 (KIP-98): isolation level, last stable offset, aborted transactions.
//   - v5 (KIP-107): log start offset.
//   - v7 (KIP-227): incremental sessions, see fetch_session.go.
//   - v9 (KIP-320): the leader epoch that the client knows.
//   - v11 (KIP-392): the client's rack. A leader names the preferred replica, which answers the
//     client's next fetch; see preferred_replica.go.
//   - v12 (KIP-595): the epoch of the client's last record, and where its history diverges.
//   - v13 (KIP-516): topic ids in place of names.
//   - v15 (KIP-903): the replica's state moves into a tagged field.
//   - v16 (KIP-951): the current leader, beside NOT_LEADER_OR_FOLLOWER and FENCED_LEADER_EPOCH.
//   - v17 (KIP-853): the directory of a replica's log. Here brokers send it to each other too
//     (KIP-858).
//   - v18 (KIP-1166) changes only what controllers send each other.
//
// Data in the bucket is read in parallel with the rest. A partition whose data does not arrive in
// time is empty in the response, without an error.
//
// A replica's fetch reads up to the end of the log and reports the replica's position to the leader
// (package replication). It gets no records from the bucket but OFFSET_MOVED_TO_TIERED_STORAGE
// (KIP-405), and a tagged field reports the end of the uploaded range. It waits for news until
// another request arrives on its connection.
//
// Not implemented: authorization, quotas.
func (b *Broker) fetch(ctx context.Context, r *Request, req *kmsg.FetchRequest) kmsg.Response {
	replica, code := b.admitReplica(ctx, r, req)
	if code != protocol.None {
		return &fetchResponse{FetchResponse: fetchHead(req, noSession, code)}
	}
	f := fetchedPool.Get().(*fetched)
	defer f.free() // releases the results that no response took over, also after a panic
	session, code := b.sessions.begin(req, f.targets)
	if code != protocol.None {
		return &fetchResponse{FetchResponse: fetchHead(req, noSession, code)}
	}
	f.size(session.targets)
	b.read(ctx, r, replica, req, f)
	id, include, code := session.finish(f.news)
	resp := &fetchResponse{FetchResponse: fetchHead(req, id, code)}
	for i := range include {
		if include[i] {
			b.answerFetch(ctx, r, req, resp, &f.targets[i], &f.results[i], f.preferred[i])
		}
	}
	return resp
}

// fetched is the working space of one fetch: its targets, and in each other slice one entry for
// each.
type fetched struct {
	targets    []fetchTarget
	partitions []replication.FetchPartition
	results    []replication.FetchResult // owned until they are part of the response
	preferred  []int32                   // preferred read replicas, -1 for none
	news       []fetchNews
}

// fetchedPool keeps the working space of fetches. It is large for a consumer of many partitions,
// which fetches again and again.
var fetchedPool = sync.Pool{New: func() any { return new(fetched) }}

// size makes room for the answers to the targets.
func (f *fetched) size(targets []fetchTarget) {
	n := len(targets)
	f.targets = targets
	f.partitions = slices.Grow(f.partitions, n)[:n]
	f.results = slices.Grow(f.results, n)[:n]
	f.preferred = slices.Grow(f.preferred, n)[:n]
	f.news = slices.Grow(f.news, n)[:n]
}

func (f *fetched) free() {
	for i := range f.results {
		f.results[i].Records.Release()
	}
	clear(f.targets)
	clear(f.partitions)
	clear(f.results)
	f.targets, f.partitions, f.results, f.preferred, f.news = f.targets[:0], f.partitions[:0], f.results[:0], f.preferred[:0], f.news[:0]
	fetchedPool.Put(f)
}

func fetchHead(req *kmsg.FetchRequest, session int32, code protocol.ErrorCode) *kmsg.FetchResponse {
	head := req.ResponseKind().(*kmsg.FetchResponse)
	head.SessionID, head.ErrorCode = session, int16(code)
	return head
}

// read reads the targets. A target that does not exist in the cluster is left out, so it does not
// end a consumer's wait for the others. A target whose partition is on another broker ends the
// wait, because the client has to fetch there.
func (b *Broker) read(ctx context.Context, r *Request, replica *metadata.Member, req *kmsg.FetchRequest, f *fetched) {
	isolation := isolationOf(req.IsolationLevel)
	var hurry <-chan struct{}
	if replica != nil {
		isolation, hurry = replication.ReadLogEnd, r.hurry()
	}
	maxWait := time.Duration(max(req.MaxWaitMillis, 0)) * time.Millisecond
	nearer := b.nearerReplicas(req)
	for i := range f.targets {
		t := &f.targets[i]
		f.preferred[i] = -1
		var p *replication.Partition
		var err error
		if req.Version >= 13 {
			p, err = b.partitionByID(t.id, t.partition)
		} else {
			p, err = b.partitionByName(t.name, t.partition)
		}
		if err != nil {
			f.results[i].Err = err
			// A replica's image may be newer than this broker's: it has to ask again soon.
			if replica != nil || errors.Is(err, replication.ErrNotLeader) || errors.Is(err, errInconsistentTopicID) {
				maxWait = 0
			}
			continue
		}
		f.partitions[i] = replication.FetchPartition{
			Partition: p, Offset: t.offset, MaxBytes: int(max(t.maxBytes, 0)),
			CurrentLeaderEpoch: t.currentLeaderEpoch, LastFetchedEpoch: t.lastFetchedEpoch, HighWatermark: -1,
			LogStart: t.logStart, Directory: t.directory,
		}
		if b.cfg.SelectByRack && replica != nil {
			// consumers of this follower wait for it
			f.partitions[i].HighWatermark = t.highWatermark
		}
		if id, ok := nearer.preferred(p, t.offset); ok {
			f.preferred[i], f.partitions[i].Partition, f.results[i].ReadResult = id, nil, p.Offsets()
			maxWait = 0
		}
	}
	maxBytes := int(max(min(req.MaxBytes, b.cfg.FetchMaxBytes), 0))
	b.partitions.Fetch(ctx, replication.FetchParams{
		MaxWait:  maxWait,
		MinBytes: min(int(req.MinBytes), maxBytes), MaxBytes: maxBytes,
		Isolation: isolation, Replica: replica, FromFollower: req.Version >= 11, Client: r.ClientID, Hurry: hurry,
	}, f.partitions, f.results)
	for i := range f.results {
		f.news[i] = newsOf(&f.results[i], f.preferred[i])
	}
}

func isolationOf(level int8) replication.Isolation {
	if level == 1 {
		return replication.ReadCommitted
	}
	return replication.ReadUncommitted
}

func newsOf(r *replication.FetchResult, preferred int32) fetchNews {
	if r.Err != nil {
		return fetchNews{highWatermark: -1, logStartOffset: -1, failed: true}
	}
	return fetchNews{
		bytes: int64(r.Records.Len()), highWatermark: r.HighWatermark, logStartOffset: r.LogStartOffset, remoteEndOffset: r.RemoteEndOffset,
		diverged: r.Diverging != nil, redirected: preferred >= 0,
	}
}

// answerFetch adds one partition to the response, which takes over its records.
func (b *Broker) answerFetch(ctx context.Context, r *Request, req *kmsg.FetchRequest, resp *fetchResponse, t *fetchTarget, result *replication.FetchResult, preferred int32) {
	if result.Err != nil {
		p := failedFetch(b.code(ctx, result.Err))
		b.hintFetch(r, req, resp, t, &p)
		if misplaced := errors.Is(result.Err, replication.ErrOffsetOutOfRange) || errors.Is(result.Err, replication.ErrOffsetMovedToTier); misplaced && isReplica(req) {
			p.LogStartOffset = result.LogStartOffset // where the replica has to begin
		}
		resp.add(t, p, nil)
		return
	}
	p := kmsg.NewFetchResponseTopicPartition()
	p.HighWatermark, p.LastStableOffset, p.LogStartOffset = result.HighWatermark, result.LastStableOffset, result.LogStartOffset
	p.PreferredReadReplica = preferred
	if isolationOf(req.IsolationLevel) == replication.ReadCommitted {
		p.AbortedTransactions = make([]kmsg.FetchResponseTopicPartitionAbortedTransaction, 0, len(result.Aborted))
		for _, txn := range result.Aborted {
			aborted := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
			aborted.ProducerID, aborted.FirstOffset = txn.ProducerID, txn.FirstOffset
			p.AbortedTransactions = append(p.AbortedTransactions, aborted)
		}
	}
	if result.RemoteEndOffset > 0 { // set for replicas only
		protocol.TagRemoteEnd(&p.UnknownTags, result.RemoteEndOffset)
	}
	if d := result.Diverging; d != nil {
		p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = d.Epoch, d.EndOffset
	}
	var records fetchRecords
	if result.Records.Len() > 0 {
		records = &batches{result.Records}
		result.Records = replication.Records{}
	}
	resp.add(t, p, records)
}

// failedFetch is the answer for a partition that has only an error.
func failedFetch(code int16) kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	p.ErrorCode, p.HighWatermark = code, -1
	p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
	return p
}

// hintFetch names the leader for a client that used the wrong broker or an old epoch.
func (b *Broker) hintFetch(r *Request, req *kmsg.FetchRequest, resp *fetchResponse, t *fetchTarget, p *kmsg.FetchResponseTopicPartition) {
	code := protocol.ErrorCode(p.ErrorCode)
	if req.Version < 16 || code != protocol.NotLeaderOrFollower && code != protocol.FencedLeaderEpoch {
		return
	}
	hint := b.leaderOf(t.name, t.id, t.partition, r.Listener)
	p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = hint.id, hint.epoch
	if !hint.reachable {
		return
	}
	for i := range resp.Brokers {
		if resp.Brokers[i].NodeID == hint.id {
			return
		}
	}
	broker := kmsg.NewFetchResponseBroker()
	broker.NodeID, broker.Host, broker.Port, broker.Rack = hint.id, hint.endpoint.Host, hint.endpoint.Port, hint.rack
	resp.Brokers = append(resp.Brokers, broker)
}

// add appends a partition to the response. Neighbors of one topic share its entry.
func (r *fetchResponse) add(t *fetchTarget, p kmsg.FetchResponseTopicPartition, records fetchRecords) {
	p.Partition = t.partition
	last := len(r.topics) - 1
	if last < 0 || r.topics[last].name != t.name || r.topics[last].id != t.id {
		r.topics = append(r.topics, fetchResponseTopic{name: t.name, id: t.id})
		last++
	}
	topic := &r.topics[last]
	topic.partitions = append(topic.partitions, fetchResponsePartition{FetchResponseTopicPartition: p, records: records})
}
