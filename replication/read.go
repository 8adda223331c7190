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

// ReadRequest asks for the batches from an offset on.
type ReadRequest struct {
	Offset             int64
	MaxBytes           int
	MinOne             bool // return the first batch even if it is larger than MaxBytes
	Isolation          Isolation
	CurrentLeaderEpoch int32 // as the client knows it, -1 for none
	LastFetchedEpoch   int32 // of the client's last record, -1 for none
	// Replica is the fetching follower, nil for consumers. It has everything from LogStart up to
	// Offset.
	Replica  *metadata.Member
	LogStart int64
	// Directory is the directory of the follower's log; zero: not reported.
	Directory metadata.DirectoryID
	// FromFollower allows a consumer to read from a replica that does not lead (KIP-392).
	FromFollower bool
	again        bool // a repeated look for the same request, whose Offset says nothing new
}

// ReadResult is the outcome of a read. Without an error its Records, which may be empty, must be
// released.
type ReadResult struct {
	Records                                         Records
	HighWatermark, LastStableOffset, LogStartOffset int64
	// RemoteEndOffset is the end of the remote tier, for replicas.
	RemoteEndOffset int64
	Aborted         []storage.AbortedTxn // with ReadCommitted
	// Diverging is set, and Records are empty, when the client's history is not the leader's: the
	// client must truncate to the end of this epoch.
	Diverging *EpochEnd

	held bool        // a replication throttle withholds the records
	cold bool        // the offset is in the remote tier, which was not read
	upTo int64       // exclusive offset limit set by Isolation
	end  int64       // log end offset at the read
	role *role.State // the role under which the log was read
}

// EpochEnd is a leader epoch and the exclusive end of its offsets; both -1 when unknown.
type EpochEnd struct {
	Epoch     int32
	EndOffset int64
}

// Read returns batches from the tier that has them. It waits for the bucket, until ctx ends, and
// for nothing else.
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
	held    int                  // bytes of memory that all of this keeps
	aborted []storage.AbortedTxn // that overlap the batches; only for a read of committed data
}

// readRemote reads from an offset that the local tier no longer has. If ctx ends before the batches
// arrive, that does not count as an error of the remote tier.
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
		return remoteRecords{}, err // no request was made
	}
	remote := &p.traffic.Remote
	remote.FetchRequests.Add(1)
	if err == nil {
		remote.FetchBytes.Add(int64(read.Len()))
		return r, nil
	}
	cause := err
	if err = coldError(cause); errors.Is(err, ErrOffsetOutOfRange) && offset >= p.log.StartOffset() {
		// The offset is in the log but in neither tier. A client that received an out-of-range
		// error would skip it.
		err = fmt.Errorf("%w: neither tier has the offset: %w", ErrColdReadFailed, cause)
	}
	if !errors.Is(err, ErrOffsetOutOfRange) && ctx.Err() == nil {
		remote.FetchErrors.Add(1)
	}
	return remoteRecords{}, fmt.Errorf("read %s at %d from the bucket: %w", p.tp, offset, err)
}

// readBehindRemote reads the first batches of the local log for an offset of the remote tier that
// no later batch there contains, as in a log that was compacted once.
func (p *Partition) readBehindRemote(maxBytes int, upTo int64) ([]byte, error) {
	start, end := p.log.LocalStartOffset(), p.log.RemoteEndOffset()
	if start > end {
		return nil, fmt.Errorf("the remote tier ends at %d, the local log begins at %d: %w", end, start, ErrColdReadFailed)
	}
	slice, err := p.log.Read(start, maxBytes, upTo, true)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrColdReadFailed, err) // its start has moved since
	}
	defer slice.Release()
	return slice.AppendTo(nil)
}

// coldError wraps an error of the remote tier with the error of this package that decides the
// answer.
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

// readLocal reads the local tier, and only reports whether the remote tier would have to be read.
// Its result was true at one leader epoch. If the leader has changed since, the log may have been
// truncated, and its offsets would mislead the reader; the result is then an error.
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

// readAs reads without checking whether the role ended during the read.
func (p *Partition) readAs(state *role.State, r ReadRequest) (ReadResult, error) {
	// The order matters: each of these offsets may grow, and stable <= committed <= end must hold.
	result := ReadResult{role: state, LastStableOffset: p.log.LastStableOffset()}
	result.HighWatermark = p.log.HighWatermark()
	result.end = p.log.EndOffset()
	result.LogStartOffset = p.log.StartOffset()
	if r.Replica != nil && !slices.Contains(state.Replicas, r.Replica.Broker) {
		return ReadResult{}, fmt.Errorf("read %s: broker %d is no replica of it: %w", p.tp, r.Replica.Broker, ErrNotLeader)
	}
	// Before the range check: a replica ahead of its leader has to learn where they diverged.
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

// at returns the part of a result that a replica needs beside an error about its offset: the log
// start.
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
		// Local retention has deleted the segment in between.
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

// upTo returns the exclusive offset limit of an isolation level.
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

// diverging returns where the history of a client that has read up to an offset of an epoch left
// this leader's history, nil if it did not (KIP-595). known is false if the epoch is not in the
// log.
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
