package lineage

import "github.com/varvelog/varve/storage"

// Tier is the committed history of a partition in the bucket.
type Tier struct {
	// Start and End (exclusive) are its range. They are equal if it has no records.
	Start, End int64
	// Epochs are the leader epochs of the history, ascending. The first one begins at or
	// below Start.
	Epochs []storage.EpochEntry
}

// Log is a local log.
type Log struct {
	// Start is the log start, LocalStart the first offset that is on the disk, End the next
	// one to be written.
	Start, LocalStart, End int64
	// Epochs are those of the epoch cache, ascending. It may know of offsets that are no
	// longer on the disk.
	Epochs []storage.EpochEntry
}

// Kind is how a log relates to the tier.
type Kind int8

// The kinds of relations; doc.go draws them.
const (
	Continues Kind = iota
	Completed
	Diverged
	Holed
)

// String names the kind.
func (k Kind) String() string {
	return [...]string{"continues", "completed", "diverged", "holed"}[k]
}

// Relation is how a log relates to the tier.
type Relation struct {
	Kind Kind
	// At is, of Diverged, the first offset at which the records differ. Of Completed and Holed
	// it is the first one that the log, or the tier, lacks. Otherwise it is the tier's end.
	At int64
}

// Compare returns how the log relates to the tier.
func Compare(tier Tier, log Log) Relation {
	if at, differ := firstDifference(tier, log); differ {
		return Relation{Diverged, at}
	}
	switch {
	case log.End < tier.End:
		return Relation{Completed, log.End}
	// Between the tier's end, or the log start if nothing below it matters, and the first
	// local offset there is nothing.
	case max(tier.End, log.Start) < log.LocalStart:
		return Relation{Holed, max(tier.End, log.Start)}
	}
	return Relation{Continues, tier.End}
}

// ContinuesFrom returns true if it is certain that a log has the tier's last record: the one
// before end, of a leader epoch. It needs no more of the tier than its pointer has. A log of
// which that is not known may continue the tier all the same.
func ContinuesFrom(end int64, lastEpoch int32, log Log) bool {
	if log.End < end || log.LocalStart > end {
		return false
	}
	epoch, known := epochAt(log.Epochs, end-1)
	return known && epoch == lastEpoch
}

// firstDifference is the first offset that both have with different epochs.
func firstDifference(tier Tier, log Log) (int64, bool) {
	from, to := max(tier.Start, 0), min(tier.End, log.End)
	if len(log.Epochs) == 0 || len(tier.Epochs) == 0 {
		return 0, false // a log without epochs has no records
	}
	from = max(from, log.Epochs[0].StartOffset, tier.Epochs[0].StartOffset)
	// Both are constant between the offsets at which an epoch of either begins.
	for at := from; at < to; at = min(nextStart(tier.Epochs, at), nextStart(log.Epochs, at)) {
		ours, _ := epochAt(log.Epochs, at)
		theirs, _ := epochAt(tier.Epochs, at)
		if ours != theirs {
			return at, true
		}
	}
	return 0, false
}

// epochAt is the epoch of the record at an offset, false if it begins before all epochs.
func epochAt(epochs []storage.EpochEntry, offset int64) (epoch int32, known bool) {
	for _, e := range epochs {
		if e.StartOffset > offset {
			break
		}
		epoch, known = e.Epoch, true
	}
	return epoch, known
}

// nextStart is the first start of an epoch behind an offset.
func nextStart(epochs []storage.EpochEntry, offset int64) int64 {
	const none = 1<<63 - 1
	for _, e := range epochs {
		if e.StartOffset > offset {
			return e.StartOffset
		}
	}
	return none
}
