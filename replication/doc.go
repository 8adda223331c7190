// Package replication holds this broker's replicas of partitions: it knows which of them this
// broker leads, how far each log is committed, and what a client may read. It owns the only writer
// of every log, advances the high watermark, presents the two tiers to readers as one log, and lets
// requests wait until there is something to answer. The Manager makes the partitions follow the
// metadata images; no other code creates a partition, changes its role, or deletes it.
//
//	metadata store ───── image ─────▶ applier ──▶ pool ──▶ Partition (role, leader epoch)
//	     ▲                                                     │
//	     └──── AlterISR ◀── isrWriter ◀── proposed ISR ────────┤ package insync
//	                                                           ▼
//	produce ──▶ Partition.Append ──▶ leader's log          high watermark ──▶ wakes watchers
//	                                      │                    ▲
//	                                      ▼ batches            │ fetch position
//	  follower's log ◀── Partition.replicate ◀── replicaFetcher (one per leader)
//
//	consume ──▶ Manager.Fetch ──▶ local read, or cold read from the bucket
//	                          └─▶ waits on watchers, never on a polling timer
//
// With flush.messages=1 the high watermark follows the synced end of the leader's log.
//
// The holder of Partition.mu is the one writer of a storage.Log.
//
// Where to find what Kafka has:
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
// Package role decides, from an image, the registration and the log, what this broker is to a
// partition, and what the tier and the listeners have to know about it. become.go feeds it the
// events and carries out the effects.
//
// This broker either leads a partition or follows it. A leader learns its followers' positions from
// their fetches. Package insync, a pure function of events, decides what follows from a position;
// followers.go feeds it the events and carries out the effects. The ISR changes only by
// compare-and-swap in the metadata store (isr.go), and while the outcome of a change is unknown
// both sets count. A follower appends the leader's batches at the leader's offsets and epochs. It
// truncates to the point where the two histories diverge, which the leader reports (follow.go). A
// follower does not copy records that its leader has only in the bucket: it restarts its log where
// the bucket ends (restore.go). If an election may have lost records, the new leader serves no
// request until its log continues the bucket (suspect.go). Consumers may also read from a follower,
// up to the high watermark that the follower knows (preferred.go).
//
// The partition state also names the data directory of each in-sync log. The leader writes those
// names: its own directory, and the directories that followers report in their fetches
// (directories.go).
//
// The applier (apply.go) records what each partition has to become; a newer image replaces what
// older images asked for. It looks only at what an image changed since the image that it applied
// last (difference.go). The applier's goroutine never waits for a partition. Work that may hang, on
// a lock, a disk or the bucket, is a job of a pool (pool.go): one job for a partition's role
// (work.go), and one for what follows from the role (care.go: attaching to the tier, files to
// delete). Clients, listeners and fetchers see the result after the job has ended (publish.go). A
// failure is retried for that partition alone.
//
// The watchdog (watchdog.go) checks that an append, a role change or a deletion that has begun
// makes progress. While one does not, the server lets the broker's registration lapse.
//
// What this package must not know: the wire protocol and its error codes, and how metadata is
// stored.
//
// Invariants:
//
//   - R1. A log is written only under its Partition's mutex: by the leader at the leader epoch that
//     the image gave it, by a follower as the leader of that epoch says.
//   - R2. The high watermark is at most the log end offset of every in-sync replica, counting only
//     fetches under the replica's current broker epoch. While an ISR change is pending, the members
//     of the old and of the proposed set count. The high watermark does not advance while the ISR
//     is smaller than min.insync.replicas, while a replica is eligible to lead, or after the
//     leader's disk has failed. (TestCommittedRecordsStay, insync.TestProtocol)
//   - R3. An append is acknowledged only at the leader epoch at which it was made.
//     (TestTruncatedAppendIsNotAcknowledged)
//   - R4. Records whose deletion was acknowledged stay deleted. Before the answer, all live
//     replicas, and those that may be elected when they return, have the log start offset in their
//     checkpoints. A follower has it before it joins the ISR. (TestCommittedRecordsStay)
//   - R5. An image with a partition epoch that the leader already has changes nothing.
//     (TestImageOfTheSameStateChangesNothing, insync.TestProtocol)
//   - R6. An in-sync replica gives up no committed record.
//     (TestInSyncReplicaKeepsItsCommittedRecords)
//   - R7. Readers get nothing at or above the high watermark, nor at or above the last stable
//     offset if they ask for committed data.
//   - R8. With flush.messages=1 or varve.ack.fsync every acknowledgement except that of acks=0
//     waits for fsync. With flush.messages=1 the high watermark waits for fsync too, and records
//     sent with acks=0 are also synced; varve.ack.fsync does not hold readers back.
//   - R9. No wake-up is lost: a watcher is registered before it looks at the state that it waits
//     for.
//   - R10. A log is deleted only because of an event in the cluster that the data directory belongs
//     to. A log that is merely missing in an image is set aside (storage.Manager.SetAside) if the
//     image is complete, and left alone if it is not. (role.TestFate, TestListIsNoDeletion)
//   - R11. A replication throttle never delays an in-sync replica, nor a partition that the
//     throttle does not name. (throttle.go, TestThrottledFollowerCatchesUpAtTheRate)
//   - R12. What a follower has below its first local offset is in the bucket, with the leader
//     epochs and producers that belong to it. (TestCommittedRecordsStay,
//     TestFollowerStartsWhereTheTierEnds)
//   - R13. A partition whose append, role change or deletion hangs, or that waits for a hanging
//     remote tier, delays no other partition's role. (TestHangingAppendHoldsUpNoOtherPartition,
//     TestHangingTierHoldsUpNoRole)
//   - R14. A hanging append delays no ISR change, no follower's fetch, and no query about its
//     partition. (TestHangingAppendHoldsUpNoInSyncSet)
//   - R15. A partition is led only at a broker epoch that this process has registered.
//     (role.TestRoles, TestNothingIsLedUnderThePredecessorsRegistration)
//   - R16. A read from the bucket never delays the partitions of the same fetch that have their
//     data on local disk.
//
// Package storage does the syncs: a Partition asks for one (Log.FlushSoon), and storage calls
// Partition.flushed after the round that included the log.
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
// Role and config change under mu and isrMu, so they stay the same for the holder of either lock.
// mu binds an append to its leader epoch: the role cannot change during an append, and a log is
// truncated only under mu in a follower's role. Therefore a leader's log only grows while isrMu is
// held. The log end read under isrMu may be too low, because of an append in progress, but never
// too high. stepLocked needs isrMu, replaceRoleLocked needs both locks, and the other "...Locked"
// methods of Partition need mu.
package replication
