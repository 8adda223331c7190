package replication

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication/role"
	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering"
)

// Isolation is how far a reader may see.
type Isolation int8

// The isolation levels.
const (
	ReadUncommitted Isolation = iota // up to the high watermark
	ReadCommitted                    // up to the last stable offset
	ReadLogEnd                       // everything, for replicas and debugging
)

// ReadRequest asks for the batches from one offset on.
type ReadRequest struct {
	Offset             int64
	MaxBytes           int
	MinOne             bool // the first batch comes even if it alone is larger than MaxBytes
	Isolation          Isolation
	CurrentLeaderEpoch int32 // that the client knows, -1 for none
	LastFetchedEpoch   int32 // of the client's last record, -1 for none
	// Replica is the follower that asks, nil for consumers: it has everything below Offset, from
	// LogStart on.
	Replica  *metadata.Member
	LogStart int64
	// Directory is where its log is; zero: it does not say.
	Directory metadata.DirectoryID
	// FromFollower permits a consumer to read from a replica that does not lead (KIP-392).
	FromFollower bool
	again        bool // the same request looks again: its Offset says nothing new
}

// ReadResult is what there is. Without an error its Records, which may be none, must be released.
type ReadResult struct {
	Records                                         Records
	HighWatermark, LastStableOffset, LogStartOffset int64
	RemoteEndOffset                                 int64                // of the remote tier, for replicas
	Aborted                                         []storage.AbortedTxn // with ReadCommitted
	// Diverging is set, and Records are none, when the client's history is not the leader's: it
	// must truncate to the end of this epoch.
	Diverging *EpochEnd

	held bool        // a replication throttle holds back what there is
	cold bool        // the offset is in the remote tier, which has not been read
	upTo int64       // exclusive limit that Isolation sets
	end  int64       // of the log when it was read
	role *role.State // that the result was made under
}

// EpochEnd is a leader epoch and the exclusive end of its offsets; both -1 when unknown.
type EpochEnd struct {
	Epoch     int32
	EndOffset int64
}

// Read returns batches from whichever tier has them. It waits for the bucket, as long as ctx
// allows, and for nothing else.
func (p *Partition) Read(ctx context.Context, r ReadRequest) (ReadResult, error) {
	result, err := p.readLocal(r)
	if err != nil || !result.cold {
		return result, err
	}
	cold, err := p.readRemote(ctx, r.Offset, r.MaxBytes, result.upTo, r.Isolation == ReadCommitted)
	if err != nil {
		return ReadResult{}, err
	}
	result.Records, result.Aborted = Records{parts: cold.batches}, cold.aborted
	return result, nil
}

// remoteRecords is what was read from the remote tier.
type remoteRecords struct {
	batches [][]byte             // in parts
	held    int                  // bytes that all of this keeps in memory
	aborted []storage.AbortedTxn // that overlap the batches, if the read is of what is committed
}

// readRemote reads an offset of the log that the local tier lacks. When ctx ends before the batches
// are there, that is no error of the remote tier.
func (p *Partition) readRemote(ctx context.Context, offset int64, maxBytes int, upTo int64, committed bool) (r remoteRecords, err error) {
	read, err := p.tier.Read(ctx, p.tp, offset, maxBytes, upTo)
	r.batches, r.held = read.Parts, read.Held
	if errors.Is(err, tiering.ErrNoBatchFollows) {
		var local []byte
		local, err = p.readBehindRemote(maxBytes, upTo)
		r.batches, r.held = [][]byte{local}, len(local)
	}
	if err == nil && committed {
		err = p.addAborted(ctx, offset, &r)
	}
	if errors.Is(err, tiering.ErrNotCached) {
		return remoteRecords{}, err // nobody has been asked
	}
	remote := &p.traffic.Remote
	remote.FetchRequests.Add(1)
	if err == nil {
		remote.FetchBytes.Add(int64(read.Len()))
		return r, nil
	}
	cause := err
	if err = coldError(cause); errors.Is(err, ErrOffsetOutOfRange) && offset >= p.log.StartOffset() {
		// It is in the log, and in neither tier. A client that were told of a range would skip it.
		err = fmt.Errorf("%w: neither tier has the offset: %w", ErrColdReadFailed, cause)
	}
	if !errors.Is(err, ErrOffsetOutOfRange) && ctx.Err() == nil {
		remote.FetchErrors.Add(1)
	}
	return remoteRecords{}, fmt.Errorf("read %s at %d from the bucket: %w", p.tp, offset, err)
}

// readBehindRemote reads the first batches of the local log for an offset of the remote tier that no
// batch there reaches to, as those of a log that was compacted once.
func (p *Partition) readBehindRemote(maxBytes int, upTo int64) ([]byte, error) {
	start, end := p.log.LocalStartOffset(), p.log.RemoteEndOffset()
	if start > end {
		return nil, fmt.Errorf("the remote tier ends at %d, the local log begins at %d: %w", end, start, ErrColdReadFailed)
	}
	slice, err := p.log.Read(start, maxBytes, upTo, true)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrColdReadFailed, err) // it begins elsewhere by now
	}
	defer slice.Release()
	return slice.AppendTo(nil)
}

// coldError gives an error of the remote tier the class by which it is answered.
func coldError(err error) error {
	switch {
	case errors.Is(err, ErrOffsetOutOfRange), errors.Is(err, ErrColdReadFailed):
		return err
	case errors.Is(err, storage.ErrOffsetOutOfRange), errors.Is(err, tiering.ErrOffsetOutOfRange):
		return fmt.Errorf("%w: %w", ErrOffsetOutOfRange, err)
	default:
		return fmt.Errorf("%w: %w", ErrColdReadFailed, err)
	}
}

// readLocal reads the local tier, and only looks whether the remote one would have to be asked.
// What it returns was true at one leader epoch: a log that has changed its leader since may have
// been truncated meanwhile, and its offsets would mislead the reader.
func (p *Partition) readLocal(r ReadRequest) (ReadResult, error) {
	state, err := p.serving(r.CurrentLeaderEpoch, r.FromFollower && r.Replica == nil)
	if err != nil {
		return ReadResult{}, err
	}
	return p.readUnder(state, r)
}

// readUnder is readLocal under the role that the read began with.
func (p *Partition) readUnder(state *role.State, r ReadRequest) (ReadResult, error) {
	result, err := p.readAs(state, r)
	if now := p.role.Load(); now.LeaderEpoch != state.LeaderEpoch || now.Leads() != state.Leads() || now.IsGone() {
		result.Records.Release()
		return ReadResult{}, fmt.Errorf("read %s: leader epoch %d has ended: %w", p.tp, state.LeaderEpoch, ErrNotLeader)
	}
	return result, err
}

// readAs reads without looking whether the role has ended meanwhile.
func (p *Partition) readAs(state *role.State, r ReadRequest) (ReadResult, error) {
	// The order matters: what is stable is committed, and what is committed is in the log.
	result := ReadResult{role: state, LastStableOffset: p.log.LastStableOffset()}
	result.HighWatermark = p.log.HighWatermark()
	result.end = p.log.EndOffset()
	result.LogStartOffset = p.log.StartOffset()
	if r.Replica != nil && !slices.Contains(state.Replicas, r.Replica.Broker) {
		return ReadResult{}, fmt.Errorf("read %s: broker %d is no replica of it: %w", p.tp, r.Replica.Broker, ErrNotLeader)
	}
	// Before the range: a replica that is ahead of its leader has to learn where they parted.
	if r.LastFetchedEpoch >= 0 {
		diverging, known := p.diverging(r)
		if !known {
			return result.at(), fmt.Errorf("read %s: epoch %d is not in the log: %w", p.tp, r.LastFetchedEpoch, ErrOffsetOutOfRange)
		}
		if diverging != nil {
			result.Diverging = diverging
			return result, nil
		}
	}
	if r.Offset < result.LogStartOffset || r.Offset > result.end {
		return result.at(), fmt.Errorf("read %s at %d, log is [%d, %d): %w", p.tp, r.Offset, result.LogStartOffset, result.end, ErrOffsetOutOfRange)
	}
	if r.Replica != nil {
		if !r.again {
			p.fetchedBy(metadata.Member{Broker: r.Replica.Broker, Epoch: r.Replica.Epoch, Directory: r.Directory}, state, r.Offset, r.LogStart)
			result.HighWatermark = p.log.HighWatermark()
		}
		result.RemoteEndOffset = p.log.RemoteEndOffset()
	}
	result.upTo = upTo(r.Isolation, &result, result.end)
	if r.Offset >= result.upTo || r.MaxBytes <= 0 && !r.MinOne {
		return result, nil
	}
	if p.leaderHeld(state, r.Replica) {
		result.held = true
		return result, nil
	}
	return p.readSlice(r, result)
}

// at is what of a result a replica needs beside an error about its offset: where the log starts.
func (r ReadResult) at() ReadResult { return ReadResult{LogStartOffset: r.LogStartOffset} }

func (p *Partition) readSlice(r ReadRequest, result ReadResult) (ReadResult, error) {
	if r.Offset >= p.log.LocalStartOffset() {
		slice, err := p.log.Read(r.Offset, r.MaxBytes, result.upTo, r.MinOne)
		switch {
		case err == nil && slice.Len() == 0:
			slice.Release()
			return result, nil
		case err == nil:
			result.Records = Records{slice: slice, local: true}
			return p.withAborted(r, result)
		case !errors.Is(err, storage.ErrOffsetOutOfRange) || r.Offset >= p.log.LocalStartOffset():
			return ReadResult{}, fmt.Errorf("read %s at %d: %w", p.tp, r.Offset, err)
		}
		// Local retention was faster.
	}
	switch {
	case r.Offset < p.log.StartOffset():
		return ReadResult{}, fmt.Errorf("read %s at %d: deleted meanwhile: %w", p.tp, r.Offset, ErrOffsetOutOfRange)
	case r.Replica != nil:
		return result.at(), fmt.Errorf("read %s at %d, the local log begins at %d: %w", p.tp, r.Offset, p.log.LocalStartOffset(), ErrOffsetMovedToTier)
	case p.tier == nil:
		return ReadResult{}, fmt.Errorf("read %s at %d: not on the local disk, and there is no bucket: %w", p.tp, r.Offset, ErrColdReadFailed)
	}
	result.cold = true
	return result, nil
}

func (p *Partition) withAborted(r ReadRequest, result ReadResult) (ReadResult, error) {
	if r.Isolation != ReadCommitted {
		return result, nil
	}
	aborted, err := p.log.AbortedTransactions(r.Offset, result.upTo)
	if err != nil {
		result.Records.Release()
		return ReadResult{}, fmt.Errorf("read aborted transactions of %s: %w", p.tp, err)
	}
	result.Aborted = aborted
	return result, nil
}

// upTo is the exclusive limit of an isolation level.
func upTo(level Isolation, r *ReadResult, end int64) int64 {
	switch level {
	case ReadCommitted:
		return r.LastStableOffset
	case ReadLogEnd:
		return end
	default:
		return r.HighWatermark
	}
}

// diverging tells where a client that has read up to an offset of an epoch left this leader's
// history, nil if it did not (KIP-595).
func (p *Partition) diverging(r ReadRequest) (end *EpochEnd, known bool) {
	epoch, offset := p.log.EndOffsetForEpoch(r.LastFetchedEpoch)
	if epoch < 0 || offset < 0 {
		return nil, false
	}
	if epoch < r.LastFetchedEpoch || offset < r.Offset {
		return &EpochEnd{Epoch: epoch, EndOffset: offset}, true
	}
	return nil, true
}
