// Package ownership is the protocol by which brokers own the manifest of a partition's remote tier,
// as a pure state machine: who may upload, commit and delete, and what a lost answer means.
//
// [Step] takes a state and an event, and returns the next state and its effects. It has no lock, no
// I/O, no clock and no goroutine. [State.Next] is the request that the state waits for; there is
// one at a time. Package tiering performs it, as often and as late as it likes, and brings the
// answer as the next event. A request fails if it is not known to have happened.
//
// The pointer is a key of the metadata store that names the committed manifest and its owner. Every
// write of it is a compare-and-swap on the revision of the one before. It is written by leaders,
// and once, as deleted, by the broker that cleans up behind a topic.
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
//	  │                     Owned, lost            Settling ── names the new one ──▶ Owned, committed
//	  │                                             │    ▲
//	  │                          names the old one  ▼    │ failed
//	  │                                            Fencing ── written ──▶ Owned, lost
//	  │
//	  ├── UploadDue ────▶ Uploading ──▶ Owned
//	  └── SweepDue ─────▶ Confirming ── pointer read, not changed ──▶ Sweeping ──▶ Owned
//
//	Owned, without a pointer ── UploadDue, CommitDue ──▶ Founding ── written ──▶ Uploading, Writing
//	                                                        │ failed
//	                                                        ▼
//	                                                     Unclaimed
//
//	Unclaimed, Loading ── not to be written by this build ──▶ Reading ── RefreshDue ──▶ Unclaimed
//
//	Deposed ◀── Unclaimed, Settling, Confirming: the pointer is a newer owner's, or deleted
//	Unclaimed ◀── Settling, Confirming: the pointer is one that this owner claims over
//
// A step that is not needed is left out. Without a manifest there is nothing to load. Without a
// pointer there is nothing to claim: it is made before the first object of the partition, so that
// there is none without a pointer that leads to it. With the claim in the pointer, by an attempt
// whose answer was lost, there is nothing to write.
//
// A pointer or a manifest that a newer build has written may be one that this build can read and
// not keep up. Then the leader does not claim: it reads, and changes nothing.
//
// A suspect leader's log may lack records that the tier has. It has to compare the two, and what it
// compares with must not grow while it does, nor after: the leader before may be alive, and commit
// until the pointer has another claim. So a suspect leader claims before it loads, Unclaimed ▶
// Claiming ▶ Loading ▶ Owned, and is Founding where there is no pointer.
//
// A leader claims over a pointer of a lower leader epoch. Of two attachments of one leader epoch
// the later one owns: a leader that reads the pointer to claim it takes one of its own epoch for
// that of an earlier attachment, and an owner that has written it before for that of a later one.
//
// A person may have the pointer set to what the bucket has, when it was lost or is older than that. It
// is written by the owner's worker, on the revision that was read, and under a claim that no
// attachment has. The owner then begins again as one that has just become leader: to it that write is
// an earlier attachment's, to all others it is that of a later one.
//
// # What a lost answer means
//
// A swap that was not confirmed may have happened, may happen later, or may never happen. A refusal
// is no better: it may be that of a repetition whose first attempt was written. So both are Failed.
// The pointer says what holds now, and the owner's claim in it says whose write that is.
//
//   - A claim: read the pointer again. It has the claim, and this broker owns it, or the claim is
//     made on what it has. An attempt that is still under way rests on a revision that is gone.
//   - A commit: read the pointer. If it names the new manifest, that is committed. If it names the
//     old one, the swap may be under way: the pointer is written as it is, on the revision that the
//     swap rests on. One of the two happens, and the other one never will.
//   - A fence: read the pointer again.
//   - A first pointer: read it again, as before a claim.
//
// # What a crash leaves
//
//	phase          what is there                              what becomes of it
//	Unclaimed      nothing
//	Loading
//	Claiming       perhaps the claim of a leader that is      the next leader claims over it
//	Founding       gone; the manifest is the same, or none
//	Reading        nothing
//	Uploading      perhaps segment objects, each whole or     orphans: a sweep of the next owner
//	               not at all, now or later
//	Writing        perhaps pages and a manifest               orphans
//	Swapping       the old or the new manifest is committed;  the next leader claims, and the swap
//	Settling       the new one may be later                   cannot happen any more; what the
//	Fencing                                                   committed one does not name is an orphan
//	Sweeping       some of the orphans                        the next sweep
//	Owned          perhaps staged objects                     orphans
//	Confirming
//	any            some of the objects that the committed     they are deleted again, which is no error
//	               manifest lists for that are gone
//
// # What needs no phase
//
// A manifest lists the objects to delete that it does not name any more. No later one names them. So
// a broker that has adopted it deletes them beside all else that it does, as late and as often as it
// likes, also when it is deposed by then: names are never used again.
//
// What is written is named only after it is there, and deleted only after it is not named any more.
// So a crash leaves orphans, never a name without an object.
//
// # Invariants
//
// All are held by TestProtocol.
//
//   - The commits of a leader epoch are those of one broker, and at any time of one of its claims.
//   - The pointer never goes back: not to a lower leader epoch, not to a claim that was replaced,
//     and not to another manifest than one that was written as the successor of the one it names,
//     unless a person has it rebuilt.
//   - What a committed manifest names is there until a manifest is committed that does not name it.
//   - A broker that was deposed, or does not lead, changes nothing, whatever happens then.
//   - What is staged is there, and no manifest that was committed has named it.
//   - Readers and the local log see only manifests that were committed, in their order.
//   - A commit that is said to be lost never happens.
//   - There is no object of the partition before there is a pointer.
//   - A leader changes nothing if the pointer or the manifest is not to be written by its build,
//     but for the claim of a suspect leader if the pointer is.
//   - Once a suspect leader has adopted a manifest, only its own commits follow, until it is deposed.
//   - Once all requests succeed, the newest leader owns the manifest after a few of them, if its
//     build may write it, and the bucket then has what that names, and nothing else.
package ownership
