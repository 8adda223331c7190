// Package groups is the group coordinator: who is in a consumer group, who reads
// what, and how far they have come. It is a state machine over the partitions of
// __consumer_offsets, run by package coordinator, and speaks Kafka's requests as
// kmsg has them. It knows topics by name only; connections, topic ids,
// authorization and whether a topic exists are the broker's.
//
// Served are the classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup),
// offsets (OffsetCommit, OffsetFetch) and the administration of groups
// (DescribeGroups, ListGroups, DeleteGroups). Not implemented: consumer, share
// and streams groups (KIP-848, KIP-932, KIP-1071), OffsetDelete, offsets of
// transactions. Another type of group is another implementation of the interface
// group, in the same shard and the same log.
//
// A group belongs to the partition that Java's hash of its id says, as in Kafka.
// Records are Kafka's, so that its tools read them; a key starts with its
// version, which says what it is:
//
//	key   0, 1  group, topic, partition     value 3  offset, leader epoch, metadata, commit time
//	                                        value 1  with an expiry time, which OffsetCommit v2-4 can ask for
//	key   2     group                       value 3  protocol type, generation, protocol, leader, state's time,
//	                                                 members with their subscription and assignment
//
// A null value deletes the offset or the group. Values are read in all versions
// that Kafka has written. A group that is known from offsets only (a consumer
// without membership) has no record of its own.
//
// A group is written when a generation has got its assignment, when it becomes
// empty, and when a static member comes back under another id. What happens in
// between (who has joined, who waits) is soft: after a failover the members find
// the generation that was stable last, and join again if they know of a later one.
//
// Invariants:
//
//   - What is in shard.groups is immutable. A transition builds the successor; it
//     takes its place when its records are committed, or never.
//   - A group that is Empty or Stable is exactly what its record says, apart from
//     protocols that were offered and not chosen.
//   - An assignment reaches members only after it has been stored.
//   - Whoever waits in a group is answered when it leaves the state of waiting:
//     by the rebalance, by removal, by a newer request of the same member, or by
//     the loss of the partition.
//   - Nothing of a request is kept but its strings; bytes are copied.
package groups
