// Package catalogue is what a bucket says about itself as a whole: which cluster owns it, which
// topics it holds, and which of its objects belong to no topic. It knows the bucket and keys of the
// metadata store, and nothing of partitions, segments, brokers or the network. Package tiering and
// the user commands use it.
//
// # The owner of a bucket
//
// The cluster that first uses a bucket, or the part of a bucket below a prefix, writes its marker
// (format.Bucket): a random id, and the cluster's id. The metadata store has the bucket's id too. A
// broker compares both before it reads or writes anything else there:
//
//	metadata store   marker               result
//	no bucket        none                 it is written, if still absent, and its id is noted
//	no bucket        this cluster's       its id is noted: after a crash, or a restored etcd
//	bucket B         B of this cluster    accepted
//	bucket B         none                 refused: another place, or it was emptied
//	bucket B         another one          refused
//	any              another cluster's    refused
//	no cluster       any                  refused before a cluster is founded
//
// The marker is written first, because it names its cluster: after a crash the next broker
// finishes. The metadata store is read before the marker, and the marker again after a lost race.
// So two brokers that start at once agree, and of two clusters one wins.
//
// # Orphans
//
// An orphan is a topic with objects in the bucket that neither the metadata nor a tier pointer
// knows. A sweep lists the bucket first and asks for the topics afterwards. A topic has a pointer
// before it has an object, so a topic that is created in between is known. An orphan is noted in
// the bucket. It is deleted when a later sweep, a grace period after the note, finds it again.
//
// # Invariants
//
//   - C1. Nothing but the marker is read from or written to a bucket before the comparison
//     (TestGateIsShut), and a bucket that another cluster has marked is never marked again
//     (TestOneOfTwoClustersWins, TestMarkerIsNotOverwritten).
//   - C2. Only a topic whose note is older than the grace period is deleted, and only its objects
//     that are older than the note. A topic that is known again loses its note
//     (TestOrphansAreDeletedAfterTheGrace).
//   - C3. A topic that the catalogue describes and the metadata do not know is a reason to doubt
//     the metadata: then nothing is deleted but what an operator names
//     (TestDescribedOrphanIsSuspect).
//   - C4. An object at a place that this build does not know is not touched.
package catalogue
