// Package replication is a partition on this broker: who leads it, what of its log is committed,
// and what a client may read. It owns the one writer of every log, moves the high watermark, makes
// the two tiers one log for readers, and lets requests wait until there is something to tell. The
// Manager makes the partitions follow the metadata images; nobody else creates, leads or deletes
// one.
//
//	metadata image ──▶ applier ──▶ pool ──▶ Partition (role, leader epoch)
//	produce ──▶ Partition.Append ──▶ log ──▶ high watermark ──▶ wakes watchers
//	                                         (with flush.messages=1 after the log was synced)
//	fetch   ──▶ Manager.Fetch ──▶ local read, or cold read from the bucket
//	                          ──▶ waits on watchers, never on a polling timer
//	leader  ──▶ fetcher (one a leader) ──▶ Partition.replicate ──▶ log
//	ISR:        Partition.insync ──▶ isrWriter ──▶ Options.AlterISR
//
//	storage.Log has one writer: the holder of Partition.mu
//
// Where to look for what Kafka has:
//
//	ReplicaManager                       Manager (manager.go)
//	ReplicaManager.applyDelta            applier (apply.go, work.go, apply_delete.go)
//	Partition.makeLeader, makeFollower   package role decides, become.go does it
//	PartitionState, maximalIsr           package insync: Set, State.MaximalISR
//	Replica, lastCaughtUpTimeMs          insync.Follower
//	maybeExpandIsr, maybeShrinkIsr       package insync (followers.go)
//	AlterPartitionManager                isrWriter (isr.go)
//	ReplicaFetcherManager, -Thread       replicaFetchers, replicaFetcher
//	TierStateMachine, RemoteLogAuxState  restores (restore.go)
//	DelayedFetch, purgatory              delayedFetch (fetch.go), watchers (waiter.go)
//	DelayedProduce                       Appended, Acknowledge (acknowledge.go)
//	ReplicationQuotaManager              throttles (throttle.go)
//
// Package role decides from an image, the registration and the log what this broker is to a
// partition, and what others have to be told of that; become.go has the events and the effects.
//
// A partition is led here, or followed. A leader's followers tell their position with each fetch.
// What follows from that is decided by package insync, which is a pure function of events;
// followers.go has the events and the effects. The in-sync set changes only by compare-and-swap in
// the metadata store (isr.go), and while the outcome of a change is not known both sets count. A
// follower appends what the leader has, at the leader's offsets and epochs, and truncates to where
// their histories part, which the leader tells it (follow.go). What the leader has only in the
// bucket it does not copy: it begins its log anew where the bucket ends (restore.go). A leader that
// an election may have cost records is not served before its log continues the bucket (suspect.go).
// Consumers may
// read from a follower as well, up to the high watermark that it knows (preferred.go).
//
// The state also names the data directory of each log in sync. The leader has it written: its own,
// and what followers name in their fetches (directories.go).
//
// The applier (apply.go) holds what each partition has to become; the newest image replaces what
// older ones said. It looks at what an image has changed since the one that it followed last
// (difference.go). Its goroutine never waits for a partition: what may hang, on a lock, a disk or
// the bucket, is a job of a pool (pool.go), one for a partition's role (work.go) and one for what
// follows from it (care.go: the tier's share, files to delete). What clients, listeners and
// fetchers see of that is published when the job has ended (publish.go). A failure is tried again
// for that partition alone.
//
// The watchdog (watchdog.go) says of an append, a role change or a deletion that has begun whether
// it moves. While one does not, the server has the broker's registration lapse.
//
// What this package must not know: the wire protocol and its error codes, and how metadata is
// stored.
//
// Invariants:
//
//   - R1. A log is written under its Partition's mutex: by the leader at the epoch that the image
//     gave it, by a follower as that epoch's leader says.
//   - R2. The high watermark is what every in-sync replica has at its present broker epoch, of both
//     sets while one is proposed, and does not move with fewer in sync than min.insync.replicas,
//     while a replica is eligible to lead, or when the leader's disk has failed.
//     (TestCommittedRecordsStay, insync.TestProtocol)
//   - R3. An append is acknowledged only at the leader epoch at which it was made.
//     (TestTruncatedAppendIsNotAcknowledged)
//   - R4. What is acknowledged as deleted stays deleted: all live replicas, and those that may be
//     elected when they are back, have the log start in their checkpoints before the answer; a
//     follower has it before it joins the in-sync set. (TestCommittedRecordsStay)
//   - R5. An image that shows a partition epoch which the leader has already changes nothing.
//     (TestImageOfTheSameStateChangesNothing, insync.TestProtocol)
//   - R6. A replica in sync gives up no committed record.
//     (TestInSyncReplicaKeepsItsCommittedRecords)
//   - R7. Readers get nothing at or above the high watermark, or above the last stable offset if
//     they ask for committed data.
//   - R8. With flush.messages=1 or varve.ack.fsync every acknowledgement but that of acks=0 waits
//     for fsync. With flush.messages=1 so does the high watermark, and acks=0 is synced too;
//     varve.ack.fsync does not hold readers back.
//   - R9. No wake-up is lost: a watcher is registered before it looks at what it waits for.
//   - R10. A log is deleted only on the word of an event in the cluster that the data directory
//     belongs to. What an image merely lacks is set aside (storage.Manager.SetAside) if the image
//     is complete, and left alone if it is not. (role.TestFate, TestListIsNoDeletion)
//   - R11. A replication throttle holds back no replica in sync, and no partition that it is not
//     for. (throttle.go, TestThrottledFollowerCatchesUpAtTheRate)
//   - R12. What a follower has below its first local offset is in the bucket, with the leader
//     epochs and producers that follow from it. (TestCommittedRecordsStay,
//     TestFollowerStartsWhereTheTierEnds)
//   - R13. A partition whose append, role or deletion hangs, or that waits for a remote tier that
//     hangs, holds up no other partition's role. (TestHangingAppendHoldsUpNoOtherPartition,
//     TestHangingTierHoldsUpNoRole)
//   - R14. An append that hangs holds up no in-sync set, no follower's fetch, and no question about
//     its partition. (TestHangingAppendHoldsUpNoInSyncSet)
//   - R15. A partition is led only at a broker epoch that this process has registered.
//     (role.TestRoles,
//     TestNothingIsLedUnderThePredecessorsRegistration)
//   - R16. A read from the bucket never delays the partitions of the same fetch that have their
//     data on local disk.
//
// Syncs are storage's: Partition asks for one (Log.FlushSoon) and is told (Partition.flushed) when
// the round that had it is done.
//
// Locks, in this order:
//
//	Partition.mu     every write to the log, and every change of role or config. Held across an
//	                 append to the page cache, never across fsync of data or a remote call. A disk
//	                 that hangs holds it.
//	Partition.isrMu  the in-sync protocol: the state of package insync, and so the high watermark
//	                 of a leader. Taken after mu or alone, never held across I/O or another wait.
//	                 Under it the log's atomic offsets are read, and Log.SetHighWatermark takes
//	                 Log.stable.
//	isrWriter.mu     the partitions that have something to write; and a watcher list's, then a
//	                 waiter's lock
//
// Role and config change under mu and isrMu, so that they stay for the holder of either. An append
// is bound to its leader epoch by mu: the role cannot change during one, and a log is truncated
// only under mu in a follower's role. So a leader's log only grows while isrMu is held, and what
// isrMu reads of its end may be too low by an append that is not over, never too high. stepLocked
// wants isrMu, replaceRoleLocked both, the other functions "...Locked" of a Partition mu.
package replication
