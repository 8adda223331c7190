// Package tiering keeps the history of partitions in an object store: it uploads closed segments,
// expires them, and reads them back by offset and by time. Package replication uses it: it attaches
// the partitions that this broker leads, and follows the others of which it has a replica; those
// are only read. Package tiering knows the local log through a few methods, the object store
// through objstore.Bucket, and the cluster through one key a partition in kv.Store. It knows
// nothing of the network, of clients, or of which broker leads a partition. Only the work on the
// bucket as a whole looks at the cluster's image.
//
//	log ── closed segments ──▶ scheduler, with the lanes attach, copy and delete
//	                             │ copy           │ delete: trash that is due
//	                             ▼                ▼
//	                           uploads ───────▶ bucket ◀── fetchers ◀── caches ◀── readers
//	                             │ verified       ▲
//	                             ▼                │
//	                           manifest ──────────┘
//	                             │ written and read back
//	                             ▼
//	                           pointer in the metadata store, by compare-and-swap
//	                             │ committed
//	                             ▼
//	                           readers see the manifest, the log may delete what it names
//
// # What is stored
//
// Package format has the formats: segment objects, manifests, the pages of older entries to which
// they refer, trash, and the pointer. The key tier/<topic id>/<partition> of the metadata store
// holds the pointer: the current manifest's name, what is in it, and which broker owns it. An
// object never changes after it is written, and no two objects ever have the same name.
//
// A newer build may have written a pointer or a manifest that this build can read but must not
// write. A leader then reads the tier and changes nothing (StateReadOnly). An entry that this
// build does not know is unsupported by itself: reads of its range fail, and expiry and sweeps
// end before it.
//
// # Invariants
//
//   - T1. The local log may delete only what a committed manifest names: upload, verify, write the
//     manifest, swap the pointer, inform the log. (TestCrashBetweenAnyTwoSteps)
//
//   - T2. An object is deleted only when no committed manifest names it any more, and after a grace
//     period: manifest without it, swap, log start, object. What a pin keeps is not deleted before
//     the pin ends. (TestSweepLeavesWhatHasJustExpired, TestPinsKeepWhatHasExpired)
//
//   - T3. The entries of a manifest follow one another without a gap or an overlap from its
//     start to its end.
//
//   - T4. Only the holder of the pointer's claim changes the pointer. A swap that was not confirmed
//     is settled before any other work, and cannot happen later. (ownership.TestProtocol,
//     TestLateSwapIsFenced, TestDeposedLeaderChangesNothing)
//
//   - T5. What a read returns has passed the checksum of its chunk. A damaged chunk is fetched a
//     second time; if it is still damaged, the read fails.
//
//   - T6. The owner's work on a partition is done by one worker at a time, and so are its
//     deletions. After Detach has returned no worker touches the partition's log.
//
//   - T7. A follower changes nothing: not the pointer, not the bucket, not the local log
//     (TestFollowerChangesNothing). It reads by a manifest that was current less than half of
//     DeleteDelay ago, so what the manifest names still exists.
//
//   - T8. Uploads, reads, queues and caches are bounded. A reader that leaves does not end a read
//     that others wait for. Read-ahead has a budget over all readers, clients take turns by bytes,
//     and what is read once evicts nothing that is read again.
//     (TestReplayOfManyPartitionsReadsNothingTwice, TestClientsTakeTurns,
//     TestReplayLeavesWhatIsReadAgain) All partitions together have at most as many uploads under
//     way as there are streams (TestStreamsAreSharedByPartitions), and send no faster than their
//     quota (TestUploadsKeepToTheirQuota). A partition that is not behind sends only a little
//     faster than its log grows (TestUploadsAreNotMuchFasterThanAppends).
//
//   - T9. A pointer, a manifest and its entries keep the fields that this build does not know
//     whenever they are rewritten (TestOlderBrokerKeepsWhatANewerOneHasStored). This build does not
//     change what it must not write (TestUnknownWriteFeatureIsReadOnly), and does not delete what
//     it does not know (TestUnknownEntryIsUnsupportedByItself).
//
//   - T10. A failure delays only what failed: each kind of work has a back-off of its own, and each
//     object that cannot be deleted another one. A failure is in Status while it lasts.
//     (TestUploadsGoOnWhereNothingCanBeDeleted, TestUploadsGoOnWhereNothingExpires,
//     TestUploadsDoNotWaitForDeletions, TestUndeletableObjectStopsNoOther)
//
//   - T11. A partition without work costs no request to the object store, except for a rare sweep.
//     One that this broker leads then takes at most 2 KiB of memory, however long its history is.
//     (TestIdlePartitionsCostNothing, TestManyIdlePartitionsCostNothing, TestLedPartitionsAreSmall)
//
//   - T12. The pointer exists before the first object (TestPointerIsThereBeforeTheFirstObject).
//     Objects without a pointer mean that a pointer was lost (TestLostPointerIsAnAlarm).
//
//   - T13. A log's segments are uploaded, and it may delete them, only if its history continues the
//     tier's (TestOtherHistoryIsAnAlarm). A log that an election may have cost records is made to
//     continue the tier before it is served (TestSuspectLogIsCompletedFromTheTier,
//     TestSuspectLogThatDivergesCutsTheTier, TestRandomHistoryIsReadBackToTheByte).
//
//   - T14. Nothing of the tier is touched before the bucket is known to be the cluster's
//     (TestNothingIsTouchedBeforeTheBucketIsKnown). Objects of topics that nothing knows are
//     deleted by the rules of package catalogue (TestBucketIsSweptByTheController).
//
//   - T15. A read of committed records gets every aborted transaction in its range, wherever the
//     marker is. Only an index or a count proves that there is none, never a look-up that ended
//     early. (TestMarkerInALaterSegment, TestAbortedTransactionsAreThoseOfTheLog)
//
//   - T16. Code that waits, and all randomness, goes through package stepped: package simulation
//     runs the tier of whole clusters from a seed (replication: TestSimulation).
//
//   - T17. Objects that are uploaded before their turn stay staged. They are named in offset order,
//     are uploaded once, and are no orphans to their leader's sweep
//     (TestWhatIsBehindAFailedUploadStaysStaged, TestCrashWithSeveralStaged).
//
// # Decisions
//
// Package ownership is the protocol of a leader's tier, a pure function of events. It decides when
// the pointer is read, claimed, swapped and fenced, when segments are uploaded, which of them are
// staged, and when orphans are deleted. owner.go performs its requests and passes in the answers.
// Package format makes the next version of a manifest. This package decides when which work is due.
//
// # Goroutines and locks
//
// Run owns all goroutines: attachers, uploaders and deleters (scheduler.go), fetchers for reads
// (fetcher.go), the clock, and the cleaner of deleted topics. On the controller it also owns the
// one for the bucket as a whole: its catalogue and its orphans (bucket_wide.go). Fetchers do the
// reads, not the readers; what is in memory needs no queue.
//
// A partition has two tasks. One attaches, expires, uploads and sweeps (step). The other deletes
// what the committed manifest lists for deletion (deletions.go); it needs no claim and so waits for
// nothing. Partitions for which a reader waits are attached first. Many are attached at a time,
// because attaching is nearly all waiting; the bytes of the manifests being loaded are bounded. A
// leader keeps the outline of a manifest; all of it is in a cache only (whole.go). Pages and
// manifests that the work needs, and no reader, are read by fetchers of their own.
//
// Lock order: Manager.mu before scheduler.mu; readAhead.mu before a cache's, and that before the
// fetcher's. The locks of the fetcher, of a partition and of its deletions are leaves.
package tiering
