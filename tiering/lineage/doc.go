// Package lineage compares a partition's local log with its remote tier: not by where they end, but
// by the leader epochs of their records. It is a pure function of both histories.
//
// One leader appends in a leader epoch, and never takes back what it has appended in it. So two
// histories that have the same epoch at an offset have the same record there. The [Relation] of a
// log to the tier follows from that:
//
//	tier  0: aaaaabbb        continues   the log has everything that the tier has; nothing has to
//	log      aaaaabbbbcc                 be done. It may have dropped its beginning
//
//	tier  0: aaaaabbb        completed   the log ends earlier and does not differ: an empty disk,
//	log      aaaaa                       or a tail lost in a power failure. The log goes on where
//	                                     the tier ends, and no record is lost
//
//	tier  0: aaaaabbb        diverged    the log has other records from offset 5 on, as after an
//	log      aaaaacc                     unclean election. The log is the truth of the partition:
//	                                     the tier is cut at 5, and what is cut off is kept as
//	                                     trash for a while
//
//	tier  0: aa              holed       offsets 2 and 3 are in neither, though the log begins
//	log      ....bbb                     below them: a pointer, or a history, was lost. It is
//	                                     an alarm, and nothing is uploaded or deleted
//
// It knows no bucket, no log and no broker.
//
// # Invariants
//
//   - A log that has all records of the tier continues it, whatever else it has after them.
//   - Below the offset of a divergence both have the same records, as far as they have any.
//   - After the relation's repair, the log continues the tier. (TestRepairs)
package lineage
