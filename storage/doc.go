// Package storage keeps one broker's partitions on its local disks, in Kafka's
// own files. A [Manager] owns the data directories and their [Log]s; a Log is
// one partition's segments, indexes, producer state and leader epochs.
//
// It knows nothing of the network, the cluster, replication or the object
// store: what is committed, what may be deleted and who leads is told to it.
//
// # Files
//
// In a data directory, in Kafka's formats:
//
//	.lock                              held while a broker uses the directory
//	meta.properties                    version=1, cluster.id, node.id, directory.id
//	log-directories                    "0", count, then lines "directory.id path": all that the broker has
//	.kafka_cleanshutdown               there only while no broker runs and all is in order
//	.failed                            why the last broker gave the directory up; goes when all was recovered
//	recovery-point-offset-checkpoint   "0", count, then lines "topic partition offset"
//	log-start-offset-checkpoint
//	replication-offset-checkpoint      the high watermarks
//	cleaner-offset-checkpoint          up to where compaction has gone
//	<topic>-<partition>/               one log
//	<topic>-<partition>.<id>-delete/   one that was deleted; goes after file.delete.delay.ms
//	<topic>-<partition>.<id>-stray/    one that was set aside; goes after Options.StrayRetention (strays.go)
//	<topic>-<partition>.<id>-future/   the copy of one that is to move here; id is this directory's
//	<topic>-<partition>.<id>-moving/   one that is about to be in directory id, for a moment (move_switch.go)
//
// In a log's directory, NNN being the base offset in 20 digits, all integers
// big endian:
//
//	NNN.log                  batches one after the other; package record draws them
//	NNN.index                last offset of a batch - base int32 | position of the batch int32
//	NNN.timeindex            largest timestamp so far int64 | last offset of its batch - base int32
//	NNN.txnindex             version int16=0 | producer id | first offset | last offset | last stable offset, int64 each
//	NNN.snapshot             version int16=1 | CRC32C of the rest | count int32 | producers (producer_snapshot.go)
//	leader-epoch-checkpoint  "0", count, then lines "epoch startOffset"
//	partition.metadata       "version: 0", "topic_id: <base64url>"; rarely lines "supersedes: <directory.id>" (rivals.go)
//	stray.json               in a -stray: since when and why, and what the checkpoints had of the log
//	*.<n>.deleted            of a deleted segment, until nobody reads it any more
//	*.cleaned                of a segment that compaction is writing; means nothing
//	*.swap                   of one that is whole and durable, and replaces those that it was made of
//
// Most of this comes late, because most of thousands of partitions are quiet: a
// log's directory and partition.metadata with its first batch (create.go), the
// index files of the active segment when a page of entries is full or the
// segment is closed. After a clean shutdown a single segment of up to 4 KiB has
// neither index files nor a snapshot; reading it is as cheap. The epoch file
// tells of epochs that have batches only. Without its directory a log is known
// from the cluster's metadata alone, and created again after a restart.
//
// An index gets an entry for a batch when more than index.interval.bytes were
// appended since the last one, as in Kafka, so that kafka-dump-log finds every
// entry's batch. Index files are neither preallocated nor mapped: the newest
// entries are in memory, up to a page, the others are searched with pread.
//
// # Invariants
//
//   - S1: Acknowledged means written; flushed means durable. After a crash the
//     end is at least what Flush has promised, and every offset below it reads
//     as it was written.
//   - S2: What recovery trusts was synced. The recovery point is below or at the
//     end of what is durable; closed segments wholly below it have durable
//     indexes and producer snapshots. It is lowered, durably, before anything below it is truncated.
//   - S3: Indexes, checkpoints, epoch file and snapshots are hints. Deleting or
//     damaging any of them costs time at the next start, not data. What below
//     the recovery point nothing tells of is believed, as by Kafka: a .txnindex
//     that is gone, or a checkpoint with another number.
//   - S4: A reader never sees bytes at or above the limit it named, nor a batch
//     in part from the front, nor bytes of another segment under its offset.
//   - S5: With remote storage enabled a segment is deleted only if all of it is
//     flushed and below RemoteEndOffset, or below the log start that a crash
//     leaves. Nothing at or above the high watermark is ever deleted by retention.
//     A volume above its high watermark loses segments that are flushed and below
//     RemoteEndOffset before retention asks for it, and log start stays.
//   - S6: A failed fsync ends the service of its directory until a restart. It is
//     never tried again, and the restart looks at what is on the disk, not at
//     what the kernel still has in memory and takes for written. One that could
//     not be tried, for want of a descriptor, ends nothing.
//   - S7: A full disk refuses appends with ErrDiskFull and leaves the log as it
//     was; the next append tries again. Retention needs no space to delete closed
//     segments, and disk_pressure.go what the object store has too. Full is a disk
//     with less than Options.ReserveBytes left (room.go): what else is on it has to
//     go on (TestAppendsLeaveRoomOnTheDisk).
//   - S8: Compaction removes a record only if a later committed one has its key,
//     if its transaction was aborted, if it has no key, or if it is a tombstone
//     whose delete horizon has passed. What stays keeps its offset, timestamp and
//     order. It touches closed segments below the last stable offset and the
//     recovery point only.
//   - S9: A segment that compaction has made ends where those it was made of did:
//     something stays of the last batch, and of the last one of each producer.
//   - S10: Open files, memory per index and goroutines are bounded, however many
//     partitions and segments there are.
//   - S11: A log that the broker had and that is in none of the directories that
//     work is not made anew while one is offline or missing.
//   - S12: However a move between directories ends, exactly one of them has the
//     log, with all that it had; which one is unknown only while the target is
//     offline, and then nobody serves it.
//   - S13: What was set aside is deleted by nothing but time. Its date is never earlier
//     than the moment at which it was set aside.
//   - S14: A log has at least one segment. They ascend without overlap, and the last one,
//     and no other, is active.
//   - S15: log start <= high watermark <= end; local start <= high watermark, unless a
//     follower's first batch is so far from the end that it begins a segment; recovery
//     point <= flushed offset <= end; an undecided transaction begins below the end.
//   - S16: The high watermark goes down by a truncation only. One that takes committed
//     records says so: TruncateCommitted and TruncateCommittedFully.
//   - S17: Leader epochs ascend in both fields, and none begins above the end.
//   - S18: What is appended begins at the end, or behind it if it comes from a compacted
//     leader; it ascends, and belongs into the active segment.
//   - S19: The calls that decide what a log holds have one caller at a time (see [Log]).
//   - S20: No checkpoint gets an offset above its log's end. One that has such an offset, as
//     records were lost in a crash or truncated, is lowered, durably, before others come in
//     their place: they would count as durable, compacted or committed.
//
// A build with the tag "invariants" asserts what of S2, S3, S5, S8, S9, and S14 to S20 can be
// seen in memory, and the order of the locks (assert.go, locks.go); all tests run with it.
//
// TestLogIsASliceOfBatches holds S1 to S4 against random histories with
// crashes, TestCompactedLogKeepsTheLastOfEachKey S8 and S9; the others have
// tests of their own.
//
// # Recovery
//
// After a clean shutdown nothing is read but directory listings and the tail of
// each log behind its last index entry. Otherwise segments from the recovery
// point on are scanned: batches below it by their headers, the others in full
// with their CRC. The first one that is not sound, and all behind it, is cut
// off, later segments first: a crash in between finds the same damage again. A
// gap between segments is taken for lost data, unless the recovery checkpoint
// is missing, or the cleaner's says that compaction went that far: Kafka's
// leaves gaps, ours does not (S9).
//
// # Compaction
//
// A cleaning has two passes (cleaning.go). The first notes the last offset of
// every key of the dirty part, which is what no cleaning has seen, in a map of
// bounded size (offset_map.go). The second writes the segments from the log's
// first one up to the map's end anew, several small ones together
// (clean_segments.go), with what batch_filter.go leaves of each batch and
// cleaned_txns.go says of transactions. A tombstone that is seen for the first
// time gives its batch a delete horizon (KIP-534), as does a marker without any
// batch of its transaction; a cleaning after that time removes it.
//
// A new segment takes the place of the old ones in steps (swap_segments.go),
// each durable before the next; recovery goes on where they stopped
// (partition_files.go):
//
//  1. The .cleaned files are written and synced. A crash: they are removed.
//  2. They are renamed to .swap, the .log last. A crash completes the swap, and
//     undoes one that has .cleaned parts before these go.
//  3. A new list is published. Readers of the old one keep its segments.
//  4. The old files become .deleted.
//  5. The new ones get their names, the .log last.
//
// Truncation and deletion end a cleaning and wait until it has let go of the
// log; retention waits for the next time while a swap is under way. The cleaner
// (cleaner.go) takes the log that is longest over max.compaction.lag.ms, or
// else the one with the largest dirty part. A log that cannot be compacted is
// left alone until a restart, and said so once.
//
// # Moving to another directory
//
// A log that Move was asked for is copied beside its work, whole segments and
// then the tail again and again (move_copy.go), no faster than
// Options.MoveRate, and one at a time into a directory. It is not compacted
// meanwhile; a truncation begins the copy anew. When little is missing
// Options.Moving is asked, so that the cluster names no directory that may not
// have the log. Then the log stops, the copy is completed, and names decide
// (move_switch.go):
//
//  1. The copy is durable, a -future that the start ignores. The target's
//     checkpoints have the log. A crash: the start begins the move anew.
//  2. The log's directory becomes -moving, durably. A crash: the start gives it
//     its name back. If the target is offline then, it may have the log: nobody
//     serves it.
//  3. The -future gets the log's name, durably. A crash: that is the log, and
//     the -moving goes.
//  4. The -moving becomes a -delete.
//
// The Log stays the same object; readers keep the segments that they have. The
// new list has closed segments and an empty active one. While a directory is
// offline no log is moved: the one that left its -moving there could be gone on,
// and the start that finds it again would take it for the log.
//
// # Getting to the disk
//
// Nothing waits for the disk by itself. Who has to asks by FlushSoon and is told
// through OnFlush: a directory's committer syncs all logs that wait in rounds,
// side by side (committer.go). Closed segments are flushed in the background, a
// few logs at a time, so that the recovery point moves on. And every
// Options.WritebackBytes of an active segment the system is asked to begin
// writing, which makes nothing durable but keeps little for a sync to wait for
// (writeback.go); a hint, given by one goroutine per directory.
//
// # Locks
//
// Readers take none: they load an immutable segment list, pin a segment and
// read below its published size. In this order, which locks.go has as numbers:
//
//	Log.cleaning.token      see below; then Log.cleaning.mu, inside one call
//	Log.flush.token         see below
//	dataDir.checkpointing   one writer of a directory's checkpoints at a time
//	Manager.mu              the map of logs
//	Manager.moves           which logs are to be moved; also over the renames and syncs of a request
//	Log.mu                  everything that changes a log; not held over fsyncs, but for
//	                        truncation, a start from the object store, and retention
//	                        that leaves nothing, which are rare
//	Log.stable              what the last stable offset follows from; never over I/O. The high
//	                        watermark moves under it alone, while an append has Log.mu
//	dataDir.checkpoints     the checkpoint files; over their fsyncs
//	dataDir.flushes         which logs have closed segments that are not durable
//	committer.mu            which logs wait for a round
//	Manager.strays          what was set aside; also over the renames of those that go
//	env.trash               what is to be removed from the disk
//	segment.largest, txnIndex.mu   over reads of the segment, and over syncs of the index
//	cachedFile.mu, segmentNames, fileCache.mu   inside one call, but for the names of all
//	                        segments over the rename of a log's directory
//	removals, byteBudget.mu, pacer.mu, checkpointedStart.mu   inside one call; nothing is
//	                        waited for under them
//
// A log's flush token (flush.go) is taken before Log.mu and held over fsyncs.
// Only a committer holds several, of logs that are new, until their names are
// durable; nobody else waits for one while holding another. A log's cleaning
// token (cleaning_state.go) comes before all, and is held for as long as a
// cleaning, a truncation or a move lasts. A move takes the flush token, then
// dataDir.checkpointing for the target's checkpoints, then Log.mu over its
// fsyncs: of the last MiB, the index files and the names.
//
// # A disk that hangs
//
// Every operation on a disk is counted while it is under way (vfs.Watched). One that
// has not returned after Options.StallTimeout fails its directory without touching
// it (stall.go). Its goroutine stays, with the locks that it has: those of its log,
// never Manager.mu. So each directory has goroutines of its own for all that is done
// at an interval, and Run and Close leave those of a directory behind that hangs.
// The cleaner is one for all: compaction waits for the disk or the restart.
//
// Who may call what of a Log at the same time is said at [Log].
package storage
