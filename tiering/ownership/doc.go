// Package ownership is the protocol by which brokers own the manifest of a partition's remote
// tier, as a pure state machine. It decides which broker may upload, commit and delete, and what a
// lost answer means.
//
// [Step] takes a state and an event, and returns the next state and its effects. It has no lock, no
// I/O, no clock and no goroutine. [State.Next] returns the one request that the state waits for.
// Package tiering performs the request, as often and as late as it likes, and passes in the answer
// as the next event. A request has failed unless it is known to have happened.
//
// The pointer is a key of the metadata store that names the committed manifest and its owner. Every
// write of it is a compare-and-swap on the revision of the previous write. Leaders write it. The
// broker that cleans up after a deleted topic writes it once, as deleted.
//
//	Following                 a broker that does not lead; Resigned, from every phase
//	    │ BecameLeader
//	    ▼
//	Unclaimed ◀──────────┬─────────────────────────┐
//	    │ pointer read   │ failed                  │ failed
//	    ▼                │                         │
//	Loading ─────────────┘                         │
//	    │ manifest loaded                          │
//	    ▼                                          │
//	Claiming ──────────────────────────────────────┘
//	    │ pointer written
//	    ▼
//	Owned ── CommitDue ──▶ Writing ── written ──▶ Swapping ── written ──▶ Owned, committed
//	  │                       │ failed                │ failed
//	  │                       ▼                       ▼
//	  │                     Owned, lost            Settling ── names the new ──▶ Owned, committed
//	  │                                             │    ▲
//	  │                          names the old one  ▼    │ failed
//	  │                                            Fencing ── written ──▶ Owned, lost
//	  │
//	  ├── UploadDue ────▶ Uploading ──▶ Owned
//	  └── SweepDue ─────▶ Confirming ── pointer read, not changed ──▶ Sweeping ──▶ Owned
//
//	Owned, without pointer ── UploadDue, CommitDue ──▶ Founding ── written ──▶ Uploading, Writing
//	                                                      │ failed
//	                                                      ▼
//	                                                   Unclaimed
//
//	Unclaimed, Loading ── not to be written by this build ──▶ Reading ── RefreshDue ──▶ Unclaimed
//
//	Deposed ◀── Unclaimed, Settling, Confirming: the pointer is a newer owner's, or deleted
//	Unclaimed ◀── Settling, Confirming: the pointer is one that this owner claims over
//
// A step that is not needed is skipped. Without a manifest there is nothing to load. Without a
// pointer there is nothing to claim: the pointer is created before the first object of the
// partition, so that no object exists without a pointer that leads to it. If the pointer already
// has the claim, because the answer to an attempt was lost, there is nothing to write.
//
// A newer build may have written a pointer or a manifest that this build can read but must not
// replace. The leader then does not claim: it reads, and changes nothing.
//
// A suspect leader's log may be missing records that the tier has, so the two have to be compared.
// The tier must not grow during or after the comparison: the previous leader may be alive, and it
// can commit until the pointer has another claim. A suspect leader therefore claims before it
// loads, Unclaimed ▶ Claiming ▶ Loading ▶ Owned, and enters Founding where there is no pointer.
//
// A leader claims over a pointer of a lower leader epoch. Of two attachments of one leader epoch
// the later one owns. A leader that reads the pointer before it claims takes a claim of its own
// epoch for that of an earlier attachment. An owner that has written the pointer takes it for that
// of a later one.
//
// An operator may have the pointer set to what the bucket has, if it was lost or is older than the
// bucket. The owner's worker writes it, on the revision that was read, and under a claim that no
// attachment has. The owner then starts over like a broker that has just become leader: to it that
// write is an earlier attachment's, to all other brokers a later one's.
//
// # What a lost answer means
//
// A swap that was not confirmed may have happened, may happen later, or may never happen. A refusal
// is no better: it may answer a repetition whose first attempt was written. So both are Failed. The
// pointer says what holds now, and the claim in it says which attachment wrote it.
//
//   - A claim: read the pointer again. Either it has the claim, and this broker owns it, or
//     this broker claims on what it has. An attempt that is still under way rests on a
//     revision that is gone.
//   - A commit: read the pointer. If it names the new manifest, that one is committed. If it
//     names the old one, the swap may be under way: the owner writes the pointer as it is, with a
//     higher fence, on the revision that the swap rests on. One of the two writes happens, and
//     the other never will.
//   - A fence: read the pointer again.
//   - A first pointer: read it again, as before a claim.
//
// # What a crash leaves
//
//	phase       what exists                                what becomes of it
//	Unclaimed   nothing
//	Loading
//	Claiming    perhaps the claim of a leader that is      the next leader claims over it
//	Founding    gone; the manifest is the same, or none
//	Reading     nothing
//	Uploading   perhaps segment objects, each whole or     orphans: the next owner's sweep
//	            not at all, now or later                   deletes them
//	Writing     perhaps pages and a manifest               orphans
//	Swapping    the old or the new manifest is committed;  the next leader claims, and the swap
//	Settling    the new one may be later                   can no longer happen; what the
//	Fencing                                                committed one does not name is an
//	                                                       orphan
//	Sweeping    some of the orphans                        the next sweep deletes them
//	Owned       perhaps staged objects                     orphans
//	Confirming
//	any         some of the objects that the committed     they are deleted again, which is no
//	            manifest lists for deletion are gone       error
//
// # What needs no phase
//
// A manifest lists the objects that it no longer names, for deletion. No later manifest names them.
// So a broker that has adopted the manifest deletes them beside its other work, as late and as
// often as it likes, even after it was deposed: names are never reused.
//
// An object is named only after it was written, and deleted only after it is no longer named. So a
// crash leaves orphans, never a name without an object.
//
// # Invariants
//
// TestProtocol holds all of them.
//
//   - The commits of a leader epoch are made by one broker, and at any time under one of its
//     claims.
//   - The pointer never goes back: not to a lower leader epoch, not to a claim that was replaced,
//     and to no manifest but one that was written as the successor of the one it names, unless an
//     operator rebuilds it.
//   - What a committed manifest names exists until a manifest that does not name it is committed.
//   - A broker that was deposed, or does not lead, changes nothing, whatever happens afterwards.
//   - What is staged exists, and no committed manifest has named it.
//   - Readers and the local log see only committed manifests, in their order.
//   - A commit that is reported as lost never happens.
//   - The partition has no object before it has a pointer.
//   - A leader changes nothing if its build must not write the pointer or the manifest. The
//     exception: a suspect leader claims a pointer that its build may write.
//   - Once a suspect leader has adopted a manifest, only its own commits follow, until it is
//     deposed.
//   - Once all requests succeed, the newest leader owns the manifest after a few of them, if its
//     build may write it. The bucket then has what the manifest names, and nothing else.
package ownership
