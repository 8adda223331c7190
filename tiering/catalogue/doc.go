// Package catalogue is what a bucket says of itself as a whole: whose it is, which topics it
// holds, and what in it belongs to no topic. It knows the bucket and keys of the metadata store,
// and nothing of partitions, segments, brokers or the network: package tiering and the user
// commands use it.
//
// # Whose a bucket is
//
// The cluster that first uses a bucket, or the part of one below a prefix, writes its marker
// (format.Bucket): a random id, and the id of the cluster. The metadata store has the bucket's id
// too. A broker compares both before it reads or writes anything else there:
//
//	metadata store   marker               what follows
//	no bucket        none                 it is written, if still absent, and its id is noted
//	no bucket        this cluster's       its id is noted: a crash came in between, or etcd is restored
//	bucket B         B of this cluster    it is the one
//	bucket B         none                 refused: another place, or it was emptied
//	bucket B         another one          refused
//	any              another cluster's    refused
//	no cluster       any                  refused before a cluster is founded
//
// The marker comes first, because it names its cluster: after a crash the next broker finishes.
// What is known is read before the marker, and the marker again after a lost race, so that two
// brokers that begin at once agree, and of two clusters one wins.
//
// # Orphans
//
// An orphan is a topic of which the bucket has objects and which neither the metadata nor a tier
// pointer know. A sweep lists the bucket first and asks for the topics after that: a topic has a
// pointer before it has an object, so one that is created in between is known. What is found is
// noted in the bucket, and deleted when a later sweep, a grace after the note, finds it again.
//
// # Invariants
//
//   - C1. Nothing but the marker is read from or written to a bucket before it was compared
//     (TestGateIsShut), and none that another cluster has marked is ever marked again
//     (TestOneOfTwoClustersWins, TestMarkerIsNotOverwritten).
//   - C2. Only what a note of a grace ago names is deleted, and only objects that are older than
//     the note. A topic that is known again loses its note (TestOrphansAreDeletedAfterTheGrace).
//   - C3. A topic that the catalogue describes and the metadata do not know is a reason to doubt
//     the metadata: nothing is deleted then, but what a person names (TestDescribedOrphanIsSuspect).
//   - C4. What is at a place that this build does not know is not touched.
package catalogue
