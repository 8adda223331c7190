package lineage

import "github.com/varvelog/varve/storage"

// Tier is the committed history of a partition in the bucket.
type Tier struct {
	// Start and End (exclusive) are its range. They are equal if it has no records.
	Start, End int64
	// Epochs are the leader epochs of the history, ascending. The first one begins at or below
	// Start.
	Epochs []storage.EpochEntry
}

// Log is a local log.
type Log struct {
	// Start is the log start offset, LocalStart the first offset on the disk, End the log end
	// offset (exclusive).
	Start, LocalStart, End int64
	// Epochs are those of the leader epoch cache, ascending. They may reach back to offsets that
	// are no longer on the disk.
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

// String returns the kind's name.
func (k Kind) String() string {
	return [...]string{"continues", "completed", "diverged", "holed"}[k]
}

// Relation is how a log relates to the tier.
type Relation struct {
	Kind Kind
	// At is, for Diverged, the first offset at which the records differ. For Completed it is the
	// first offset missing from the log, for Holed the first one missing from the tier. Otherwise
	// it is the tier's end.
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
	// Between the tier's end (or the log start, if that is higher: nothing below it matters) and
	// the first local offset there are no records.
	case max(tier.End, log.Start) < log.LocalStart:
		return Relation{Holed, max(tier.End, log.Start)}
	}
	return Relation{Continues, tier.End}
}

// ContinuesFrom returns true if the log certainly has the tier's last record: the one before end,
// of the leader epoch lastEpoch. It needs nothing of the tier but its pointer. If it returns false
// the log may still continue the tier.
func ContinuesFrom(end int64, lastEpoch int32, log Log) bool {
	if log.End < end || log.LocalStart > end {
		return false
	}
	epoch, known := epochAt(log.Epochs, end-1)
	return known && epoch == lastEpoch
}

// firstDifference returns the first offset that both histories have, with different epochs.
func firstDifference(tier Tier, log Log) (int64, bool) {
	from, to := max(tier.Start, 0), min(tier.End, log.End)
	if len(log.Epochs) == 0 || len(tier.Epochs) == 0 {
		return 0, false // a log without epochs has no records
	}
	from = max(from, log.Epochs[0].StartOffset, tier.Epochs[0].StartOffset)
	// Both epochs are constant between the offsets at which an epoch of either history begins.
	for at := from; at < to; at = min(nextStart(tier.Epochs, at), nextStart(log.Epochs, at)) {
		ours, _ := epochAt(log.Epochs, at)
		theirs, _ := epochAt(tier.Epochs, at)
		if ours != theirs {
			return at, true
		}
	}
	return 0, false
}

// epochAt returns the epoch of the record at an offset. known is false if all epochs begin after
// it.
func epochAt(epochs []storage.EpochEntry, offset int64) (epoch int32, known bool) {
	for _, e := range epochs {
		if e.StartOffset > offset {
			break
		}
		epoch, known = e.Epoch, true
	}
	return epoch, known
}

// nextStart returns the first start of an epoch after an offset.
func nextStart(epochs []storage.EpochEntry, offset int64) int64 {
	const none = 1<<63 - 1
	for _, e := range epochs {
		if e.StartOffset > offset {
			return e.StartOffset
		}
	}
	return none
}
