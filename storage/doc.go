// Package storage keeps one broker's partitions on its local disks, in Kafka's own files. A
// [Manager] owns the data directories and their [Log]s. A Log is one partition's segments, indexes,
// producer state and leader epochs.
//
//	Manager ─┬─ dataDir /a ─┬─ Log t-0
//	         │              ├─ Log t-1 ── segments [0, 500) [500, 900) [900, … ◀── Append
//	         │              │                closed    closed     active   ──▶ Read
//	         │              │              each of them: .log, .index, .timeindex, .txnindex
//	         │              ├─ committer: makes the logs that wait durable, in rounds
//	         │              └─ checkpoints: recovery points, log starts, high watermarks, cleaned
//	         ├─ dataDir /b ── …
//	         └─ cleaner: compacts the closed segments of the logs that need it most
//
// The package must not know of the network, the cluster, replication or the object store. Its
// callers pass in what is committed, what may be deleted, and which leader epoch an append belongs
// to.
//
// # Files
//
// In a data directory, in Kafka's formats:
//
//	.lock                              held while a broker uses the directory
//	meta.properties                    version=1, cluster.id, node.id, directory.id
//	log-directories                    "0", count, then lines "directory.id path" of all
//	.kafka_cleanshutdown               exists only after a clean shutdown, while no broker runs
//	.failed                            why the last broker gave it up; removed after recovery
//	recovery-point-offset-checkpoint   "0", count, then lines "topic partition offset"
//	log-start-offset-checkpoint
//	replication-offset-checkpoint      the high watermarks
//	cleaner-offset-checkpoint          the end of the part that compaction has cleaned
//	<topic>-<partition>/               a log
//	<topic>-<partition>.<id>-delete/   a deleted log, removed after file.delete.delay.ms
//	<topic>-<partition>.<id>-stray/    a log set aside, removed after Options.StrayRetention
//	<topic>-<partition>.<id>-future/   the copy of a log that moves here; id is this directory's
//	<topic>-<partition>.<id>-moving/   a log at the moment of its move to directory id
//
// See also strays.go and move_switch.go. In a log's directory, where NNN is the base offset in 20
// digits and all integers are big endian:
//
//	NNN.log                  batches in sequence; package record draws them
//	NNN.index                last offset of a batch - base int32 | position of the batch int32
//	NNN.timeindex            largest timestamp yet int64 | last offset of its batch - base int32
//	NNN.txnindex             version int16=0 | then, int64 each: producer id | first offset |
//	                         last offset | last stable offset
//	NNN.snapshot             version int16=1 | CRC32C of the rest | count int32 | producers
//	                         (producer_snapshot.go)
//	leader-epoch-checkpoint  "0", count, then lines "epoch startOffset"
//	partition.metadata       "version: 0", "topic_id: <base64url>", and rarely lines
//	                         "supersedes: <directory.id>" (rivals.go)
//	stray.json               in a -stray: since when and why, and its offsets in the checkpoints
//	*.<n>.deleted            of a deleted segment, until no reader uses it any more
//	*.cleaned                of a segment that compaction is writing; ignored
//	*.swap                   of a complete and durable segment that replaces those it was made of
//
// Most of this is written late, because most of thousands of partitions are quiet. A log's
// directory and partition.metadata are made for its first batch (create.go). The index files of the
// active segment are written when a page of entries is full or the segment is closed. After a clean
// shutdown a single segment of up to 4 KiB has neither index files nor a snapshot: reading it costs
// no more. The epoch file lists only epochs that have batches. A log without a directory is known
// only from the cluster's metadata, and is created again after a restart.
//
// An index gets an entry for a batch when more than index.interval.bytes were appended since the
// last entry. Kafka does the same, so kafka-dump-log finds the batch of every entry. Index files
// are neither preallocated nor mapped: up to a page of the newest entries is in memory, the others
// are searched with pread.
//
// # Invariants
//
//   - S1: Acknowledged means written; flushed means durable. After a crash the end is at least what
//     Flush has promised, and every offset below it reads as it was written.
//   - S2: Recovery trusts only what was synced. The recovery point is at most the end of what is
//     durable. Closed segments wholly below it have durable indexes and producer snapshots. It is
//     durably lowered before anything below it is truncated.
//   - S3: Indexes, checkpoints, epoch file and snapshots are hints. Deleting or damaging any of
//     them costs time at the next start, not data. As in Kafka, two kinds of damage below the
//     recovery point cannot be noticed: a missing .txnindex, and a checkpoint with a different
//     offset.
//   - S4: A reader never gets bytes at or above the limit it named, a slice that begins within a
//     batch, or bytes of another segment at its offset.
//   - S5: With remote storage enabled, a segment is deleted only if all of it is flushed and below
//     RemoteEndOffset, or below the log start that a crash leaves. Retention never deletes anything
//     at or above the high watermark. On a volume above its high watermark, segments that are
//     flushed and below RemoteEndOffset are deleted before retention asks for it; the log start
//     stays.
//   - S6: A failed fsync ends the service of its directory until a restart. It is never retried.
//     The restart looks at what is on the disk, not at data that the kernel still has in memory and
//     considers written. A sync that could not be tried, for want of a descriptor, ends nothing.
//   - S7: A full disk refuses appends with ErrDiskFull and leaves the log as it was; the next
//     append tries again. Retention needs no space to delete closed segments; neither does
//     disk_pressure.go, which deletes segments that the object store has too. A disk is full when
//     less than Options.ReserveBytes is left (room.go): other programs on it must be able to
//     continue (TestAppendsLeaveRoomOnTheDisk).
//   - S8: Compaction removes a record only if a later committed one has its key, if its transaction
//     was aborted, if it has no key, or if it is a tombstone whose delete horizon has passed. The
//     remaining records keep their offset, timestamp and order. Compaction touches only closed
//     segments below the last stable offset and the recovery point.
//   - S9: A segment made by compaction ends where the segments it was made of ended: something is
//     kept of the last batch, and of the last batch of each producer.
//   - S10: Open files, memory per index and goroutines are bounded, however many partitions and
//     segments there are.
//   - S11: If a log that the broker had is in none of the directories that work, it is not created
//     again while a directory is offline or missing.
//   - S12: However a move between directories ends, exactly one of them has the log, with
//     everything in it. Which one is unknown only while the target is offline, and then the log is
//     not served.
//   - S13: A log that was set aside is deleted only when its time has passed. Its date is never
//     earlier than the moment at which it was set aside.
//   - S14: A log has at least one segment. The segments ascend without overlap. The last one, and
//     no other, is active.
//   - S15: log start <= high watermark <= end. Local start <= high watermark, unless a follower's
//     first batch is so far from the end that it begins a segment. Recovery point <= flushed offset
//     <= end. An undecided transaction begins below the end.
//   - S16: Only a truncation lowers the high watermark. A truncation that removes committed records
//     says so: TruncateCommitted and TruncateCommittedFully.
//   - S17: Leader epochs ascend in both fields, and none begins above the end.
//   - S18: Appended batches begin at the end, or above it if they come from a compacted leader.
//     They ascend, and belong in the active segment.
//   - S19: The calls that decide what a log holds have one caller at a time (see [Log]).
//   - S20: No checkpoint gets an offset above its log's end. An offset may be above the end because
//     records were lost in a crash or truncated. It is durably lowered before other records take
//     their place: otherwise they would count as durable, compacted or committed.
//
// A build with the tag "invariants" asserts the parts of S2, S3, S5, S8, S9, and S14 to S20 that
// are visible in memory, and the order of the locks (assert.go, locks.go). All tests run with it.
//
// TestLogIsASliceOfBatches checks S1 to S4 with random histories and crashes,
// TestCompactedLogKeepsTheLastOfEachKey checks S8 and S9. The others have tests of their own.
//
// # Recovery
//
// After a clean shutdown a start reads only directory listings and the tail of each log after its
// last index entry. Otherwise it scans the segments from the recovery point on: batches below the
// point by their headers, the others in full with their CRC. It cuts off the first batch that is
// not sound and everything after it, later segments first: after a crash in between, the next start
// finds the same damage. A gap between segments counts as lost data. There are two exceptions,
// because Kafka's compaction leaves gaps and ours does not (S9): the recovery checkpoint is
// missing, or the gap is below the offset in the cleaner checkpoint.
//
// # Compaction
//
// A cleaning has two passes (cleaning.go). The first notes the last offset of every key in the
// dirty part, which no cleaning has seen yet, in a map of bounded size (offset_map.go). The second
// rewrites the segments from the log's first one up to the map's end, and merges small ones
// (clean_segments.go). batch_filter.go decides what is kept of each batch, cleaned_txns.go follows
// the transactions. When a tombstone is seen for the first time its batch gets a delete horizon
// (KIP-534). So does a marker without any batch of its transaction. A cleaning after that time
// removes them.
//
// A new segment replaces the old ones in steps (swap_segments.go). Each step is durable before the
// next one, and recovery continues where they stopped (partition_files.go):
//
//  1. The .cleaned files are written and synced. A crash: they are removed.
//  2. They are renamed to .swap, the .log last. A crash: recovery completes the swap. If some parts
//     are still .cleaned it undoes the swap, before it removes these parts.
//  3. A new list is published. Readers of the old list keep its segments.
//  4. The old files become .deleted.
//  5. The new files get their final names, the .log last.
//
// Truncation and deletion abort a cleaning and wait until it has released the log. Retention skips
// a log while a swap is under way. The cleaner (cleaner.go) picks the log that has exceeded
// max.compaction.lag.ms by most, or else the one with the highest dirty ratio. A log that cannot be
// compacted is skipped until a restart, and reported once.
//
// # Moving to another directory
//
// Move copies a log while it is in use: whole segments first, then the tail again and again
// (move_copy.go), no faster than Options.MoveRate, and one log at a time into a directory. The log
// is not compacted during the copy, and a truncation restarts the copy from scratch. When little is
// missing Options.Moving is called, so that the cluster never names a directory that may not have
// the log. Then the log stops, the copy is completed, and the names decide (move_switch.go):
//
//  1. The copy is durable, a -future that a start ignores. The target's checkpoints have the log. A
//     crash: the start begins the move from scratch.
//  2. The log's directory becomes -moving, durably. A crash: the start gives it its name back. If
//     the target is offline then, it may have the log, and the log is not served.
//  3. The -future gets the log's name, durably. A crash: that is the log, and the -moving is
//     removed.
//  4. The -moving becomes a -delete.
//
// The Log stays the same object, and readers keep the segments that they have. The new list has
// closed segments and an empty active one. While a directory is offline no log is moved. It may
// hold a -moving that a log left there when it moved away. If that log moved on, a start that finds
// the directory again could take the -moving for the log.
//
// # Getting to the disk
//
// No append waits for the disk in this package. A caller that needs durability calls FlushSoon and
// gets the result through OnFlush: a directory's committer syncs all logs that wait in rounds, in
// parallel (committer.go). Closed segments are flushed in the background, a few logs at a time, so
// that the recovery point advances. After every Options.WritebackBytes of an active segment the
// system is asked to begin writing (writeback.go). That makes nothing durable, but leaves little
// for a sync to wait for. It is a hint, given by one goroutine per directory.
//
// # Locks
//
// Readers take none: they load an immutable segment list, pin a segment and read below its
// published size. The locks are taken in this order, which locks.go has as numbers:
//
//	Log.cleaning.token      see below; then Log.cleaning.mu, inside one call
//	Log.flush.token         see below
//	dataDir.checkpointing   one writer of a directory's checkpoints at a time
//	Manager.mu              the map of logs
//	Manager.moves           which logs are to be moved; also over a request's renames and syncs
//	Log.mu                  everything that changes a log. Not held over fsyncs, with rare
//	                        exceptions: truncation, a start from the object store, retention
//	                        that deletes everything, the end of a move, and the first write to
//	                        a log that replaces another one
//	Log.stable              the state that the last stable offset follows from; never over I/O.
//	                        SetHighWatermark takes no other lock: it need not wait for an append
//	dataDir.checkpoints     the checkpoint files; over their fsyncs
//	dataDir.flushes         which logs have closed segments that are not durable
//	committer.mu            which logs wait for a round; a round has a lock of its own
//	Manager.strays          the logs set aside; also over the renames of those that are deleted
//	env.trash               what is to be removed from the disk
//	segment.largest, txnIndex.mu   over reads of the segment, and over syncs of the index
//	cachedFile.mu, segmentNames, fileCache.mu   inside one call, except that the names of all
//	                        segments are held over the rename of a log's directory
//	removals, byteBudget.mu, pacer.mu, checkpointedStart.mu   inside one call, which never waits
//	                        while it holds them
//
// A log's flush token (flush.go) is taken before Log.mu and held over fsyncs. Only a committer
// holds several: those of new logs, until their names are durable. No other goroutine waits for one
// while it holds another. A log's cleaning token (cleaning_state.go) comes first, and is held for
// the duration of a cleaning, a truncation or a move. A move takes the flush token, then
// dataDir.checkpointing for the target's checkpoints, then Log.mu over its fsyncs: of the last MiB,
// the index files and the names.
//
// # A disk that hangs
//
// Every operation on a disk is counted while it is under way (vfs.Watched). If one has not returned
// after Options.StallTimeout, its directory fails, without another access to the disk (stall.go).
// The goroutine of the operation remains, with its locks: those of its log, never Manager.mu.
// Therefore each directory has goroutines of its own for all periodic work, and Run and Close do
// not wait for those of a directory that hangs. There is one cleaner for all directories:
// compaction waits for the disk or the restart.
//
// [Log] documents which of its methods may be called concurrently.
package storage
