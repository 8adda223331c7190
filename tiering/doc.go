// Package tiering keeps the history of partitions in an object store: it uploads
// closed segments, expires them, and reads them back by offset and by time. It
// is used by replication, which attaches the partitions that this broker leads
// and has it follow the others that it has a replica of: those it only reads.
// It knows the local log through a few methods, the object store through
// objstore.Bucket and the cluster through one key a partition in kv.Store;
// it knows nothing of the network, of clients, or of who leads what. Only the work on the bucket as a
// whole looks at the cluster's image.
//
// # What is stored
//
// Package format has the formats: segment objects, manifests and the pages of older entries that
// they refer to, trash, and the pointer. The key tier/<topic id>/<partition> of the metadata store
// holds the pointer: the current manifest's name, what is in it, and whose it is. Objects are never
// changed once they are written, and no two have one name.
//
// A pointer or a manifest that a newer build has written may be one that this build reads and must
// not write. A leader then reads the tier and changes nothing (StateReadOnly). An entry that this
// build does not know is unsupported by itself: reads of its range fail, and what expires and what
// is swept ends before it.
//
// # Invariants
//
//   - T1. The local log is told that it may delete only what a committed manifest
//     names: upload, verify, write the manifest, swap the pointer, tell the log.
//     (TestCrashBetweenAnyTwoSteps)
//
//   - T2. An object is deleted only after no committed manifest names it, and
//     a grace later: manifest without it, swap, log start, object. What a pin keeps stays
//     until the pin ends. (TestSweepLeavesWhatHasJustExpired, TestPinsKeepWhatHasExpired)
//
//   - T3. The entries of a manifest follow one another without a gap or an
//     overlap from its start to its end.
//
//   - T4. Only the holder of the pointer's claim changes it. A swap that was not
//     confirmed is settled before anything else is done, and cannot happen later.
//     (ownership.TestProtocol, TestLateSwapIsFenced, TestDeposedLeaderChangesNothing)
//
//   - T5. What a read returns has passed the checksum of its chunk. Damage is
//     fetched a second time and then reported, never returned.
//
//   - T6. What the owner of a partition does is with one worker at a time, and so is
//     what it deletes; a Detach that has returned leaves no one who touches its log.
//
//   - T7. A follower changes nothing: not the pointer, not the bucket, not the local
//     log (TestFollowerChangesNothing). It reads by a manifest that was current
//     less than half of DeleteDelay ago, so that what that names is still there.
//
//   - T8. Uploads, reads, queues and caches are bounded; a reader that leaves
//     does not end a read that others wait for. What is read ahead has a budget over all readers,
//     clients take turns by bytes, and what is read once takes the room of nothing that is read again.
//     (TestReplayOfManyPartitionsReadsNothingTwice, TestClientsTakeTurns, TestReplayLeavesWhatIsReadAgain)
//     All partitions together have as many uploads under way as there are streams
//     (TestStreamsAreSharedByPartitions), and send no faster than their quota (TestUploadsKeepToTheirQuota).
//     One that is not behind sends little faster than its log grows (TestUploadsAreNotMuchFasterThanAppends).
//
//   - T9. A pointer, a manifest and its entries keep the fields that this build does
//     not know, wherever they are written again (TestOlderBrokerKeepsWhatANewerOneHasStored).
//     What this build must not write it does not change (TestUnknownWriteFeatureIsReadOnly),
//     and what it does not know it does not delete (TestUnknownEntryIsUnsupportedByItself).
//
//   - T10. What fails delays itself only: a kind of work has a back-off of its own, and an
//     object that cannot be deleted another one. It is in Status for as long as it lasts.
//     (TestUploadsGoOnWhereNothingCanBeDeleted, TestUploadsGoOnWhereNothingExpires,
//     TestUploadsDoNotWaitForDeletions, TestUndeletableObjectStopsNoOther)
//
//   - T11. A partition with nothing to do costs no request to the object store, and a led one no
//     more than 2 KiB of memory, however long its history is. But for a sweep, which is rare.
//     (TestIdlePartitionsCostNothing, TestManyIdlePartitionsCostNothing, TestLedPartitionsAreSmall)
//
//   - T12. There is a pointer before there is an object (TestPointerIsThereBeforeTheFirstObject).
//     Where there are objects and no pointer, one was lost (TestLostPointerIsAnAlarm).
//
//   - T13. A log is told what it may delete, and segments of it go up, only if its history and the
//     tier's are one (TestOtherHistoryIsAnAlarm). One that an election may have taken records from
//     is made to continue the tier before it is served (TestSuspectLogIsCompletedFromTheTier,
//     TestSuspectLogThatDivergesCutsTheTier, TestRandomHistoryIsReadBackToTheByte).
//
//   - T14. Nothing of the tier is touched before the bucket is known to be the cluster's
//     (TestNothingIsTouchedBeforeTheBucketIsKnown). What nothing knows is deleted by the rules of
//     package catalogue (TestBucketIsSweptByTheController).
//
//   - T15. A read of what is committed is told of each aborted transaction in its range, wherever
//     the marker is: what proves that there is none is an index or a count, never a look that ended
//     early. (TestMarkerInALaterSegment, TestAbortedTransactionsAreThoseOfTheLog)
//
//   - T16. Code that waits, and all chance, goes through package stepped: package simulation plays
//     the tier of whole clusters from a seed (replication: TestSimulation).
//
//   - T17. Objects that are there before their turn stay staged: they are named in the order of their
//     offsets, go up once, and are no orphans to their leader's sweep
//     (TestWhatIsBehindAFailedUploadStaysStaged, TestCrashWithSeveralStaged).
//
// # Who decides what
//
// Package ownership is the protocol of a leader's tier, a pure function of events:
// when the pointer is read, claimed, swapped and fenced, and when segments go up, what of them is
// staged, and when orphans are deleted. owner.go performs what it asks for, and brings the
// answers. Package format makes the next version of a manifest. When which work is
// due is decided here.
//
// # Who runs what
//
// Run owns all goroutines: attachers, uploaders and deleters (scheduler.go), fetchers for
// reads (fetcher.go), the clock, the cleaner of deleted topics, and on the controller what is done
// for the bucket as a whole: its catalogue and its orphans (bucket_wide.go). Reads are done
// by fetchers, not by the readers; what is in memory has no queue. A partition has two tasks. One attaches, expires,
// uploads and sweeps (step); the other deletes what the committed manifest lists for that
// (deletions.go), which needs no claim and so waits for nothing. Partitions that somebody
// waits for are attached first, and many at a time, as all that they do is wait; the bytes of the
// manifests that are loaded have a bound. A leader keeps the outline of a manifest, and all of it in
// a cache only (whole.go). Pages and manifests that the work needs, and no reader, come by fetchers
// of their own. Locks: Manager.mu before scheduler.mu; readAhead.mu before a cache's, and that before
// the fetcher's, which like a partition's mu and its deletions' is a leaf.
package tiering
