// Package tiering keeps the history of partitions in an object store: it uploads
// closed segments, expires them, and reads them back by offset and by time. It
// is used by replication, which attaches the partitions that this broker leads
// and has it follow the others that it has a replica of: those it only reads.
// It knows the local log through a few methods, the object store through
// objstore.Bucket and the cluster through one key a partition in kv.Store;
// it knows nothing of the network, of clients, or of who leads what.
//
// # Objects
//
// All objects of a partition are below <prefix>/<topic id>/<partition>/, and are
// never changed once written:
//
//	<start offset, 20 digits>-<leader epoch, 10 digits>-<attempt>.segment
//	page/<level>-<start offset, 20 digits>-<leader epoch, 10 digits>-<attempt>
//	manifest/<leader epoch, 10 digits>-<sequence, 20 digits>
//
// An attempt is drawn at random, so that nobody overwrites what another leader,
// or the same one in an earlier attempt, has written. A segment's start is its
// base offset, unless the leader before cut its segments elsewhere: then it is
// where the tier ended.
//
// A segment object is one PUT. Numbers are big-endian; positions in its log bytes
// are positions in the local .log file:
//
//	log bytes        as in the .log file
//	offset index     as in the .index file
//	time index       as in the .timeindex file
//	txn index        as in the .txnindex file, or nothing
//	leader epochs    of the log up to the segment's end, each: epoch int32, start offset int64
//	producer state   as in the .snapshot file at the segment's end, or nothing
//	chunk table      CRC32C uint32 of each chunk of the log bytes (the last may be short)
//	footer           216 bytes
//
//	  0  topic id       16 bytes          56  created        int64, unix ms
//	 16  partition      int32             64  chunk size     uint32
//	 20  leader epoch   int32, uploader's 68  zero           uint32
//	 24  base offset    int64             72  log length     uint64
//	 32  start offset   int64             80  six parts, in the order above, from the offset index on, each:
//	 40  end offset     int64, exclusive        position uint64, length uint64, CRC32C uint32
//	 48  max timestamp  int64, ms         200  version uint16 (1), footer size uint16
//	                                      204  CRC32C uint32 of the bytes before
//	                                      208  "VARVESEG"
//
// Everything after the log bytes is the tail: one range GET.
//
// A manifest lists the newest segments and refers to sealed pages of older ones,
// and those to pages of pages, so that its size, and the cost of an upload, does
// not grow with the history. It also lists objects that are to be deleted, and
// when. Manifests and pages are text: a line "varve-manifest 2 <length> <CRC32C>"
// (or varve-page), then JSON as in manifest.go and pages.go. They are small and
// rare, and on the day that they are needed without Varve, people must be able
// to read them.
//
// The key tier/<topic id>/<partition> of the metadata store holds the pointer:
// the current manifest's name and whose it is, see pointer.go.
//
// # Invariants
//
//   - T1. The local log is told that it may delete only what a committed manifest
//     names: upload, verify, write the manifest, swap the pointer, tell the log.
//     (TestCrashBetweenAnyTwoSteps)
//   - T2. An object is deleted only after no committed manifest names it, and
//     a grace later: manifest without it, swap, log start, object.
//   - T3. The entries of a manifest follow one another without a gap or an
//     overlap from its start to its end.
//   - T4. Only the holder of the pointer's claim changes it. A swap that was not
//     confirmed is settled before anything else is done, and cannot happen later.
//     (ownership.TestProtocol, TestLateSwapIsFenced, TestDeposedLeaderChangesNothing)
//   - T5. What a read returns has passed the checksum of its chunk. Damage is
//     fetched a second time and then reported, never returned.
//   - T6. What the owner of a partition does is with one worker at a time, and so is
//     what it deletes; a Detach that has returned leaves no one who touches its log.
//   - T7. A follower changes nothing: not the pointer, not the bucket, not the local
//     log (TestFollowerChangesNothing). It reads by a manifest that was current
//     less than half of DeleteDelay ago, so that what that names is still there.
//   - T8. Uploads, reads, queues and caches are bounded; a reader that leaves
//     does not end a read that others wait for.
//   - T10. What fails delays itself only: a kind of work has a back-off of its own, and an
//     object that cannot be deleted another one. It is in Status for as long as it lasts.
//     (TestUploadsGoOnWhereNothingCanBeDeleted, TestUploadsGoOnWhereNothingExpires,
//     TestUploadsDoNotWaitForDeletions, TestUndeletableObjectStopsNoOther)
//   - T11. A partition with nothing to do costs no request to the object store.
//     (TestIdlePartitionsCostNothing)
//   - T9. A pointer, a manifest and its entries keep the fields that this build does
//     not know, wherever they are written again (TestOlderBrokerKeepsWhatANewerOneHasStored).
//
// # Who decides what
//
// Package ownership is the protocol of a leader's tier, a pure function of events:
// when the pointer is read, claimed, swapped and fenced, and when segments go up
// and orphans are deleted. owner.go performs what it asks for, and brings the
// answers. What a manifest says, and when which work is due, is decided here.
//
// # Who runs what
//
// Run owns all goroutines: attachers, uploaders and deleters (scheduler.go), fetchers for
// reads (fetcher.go), the clock, and the cleaner of deleted topics. Reads are done
// by fetchers, not by the readers. A partition has two tasks. One attaches, expires,
// uploads and sweeps (step); the other deletes what the committed manifest lists for that
// (deletions.go), which needs no claim and so waits for nothing. Partitions that somebody
// waits for are attached first. Pages that the work needs, and no reader, come by fetchers
// of their own. Locks: Manager.mu before scheduler.mu; a partition's mu, its deletions',
// a cache's and the fetcher's are leaves.
package tiering
