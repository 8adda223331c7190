// Package insync is the in-sync protocol of a partition's leader as a pure state machine: which
// replicas have what, which in-sync set is committed, which ones may be, and how far the high
// watermark goes. Kafka's Partition.scala is the model (KIP-497, KIP-903, KIP-966).
//
// [Step] takes a state and an event, and returns the next state and its effects. It has no lock, no
// log, no clock, no goroutine and no random order, so that the same events give the same effects.
// What it has to know of the world comes with the event. Package replication reads that under a
// lock, has the effects happen before it lets the lock go, and does everything that waits.
//
//	             propose                      answered: written
//	Committed ────────────▶ Pending ──────────────────────────────▶ Written
//	    ▲  ▲                 │  ▲ │
//	    │  │ answered:       │  │ │ answered: refused, after an attempt whose outcome is
//	    │  │ refused         │  │ │ not known: the committed set is proposed again, and if
//	    │  └─────────────────┘  │ │ that is refused too
//	    │              propose  │ ▼
//	    │                      Unsettled
//	    └── an image of a higher partition epoch, from every state
//
// The committed set is the image's. The maximal set is that one and all members of the sets that
// were proposed on it and may have been written. A member is a broker at one of its epochs.
//
// There is no event for a change of the registered brokers: a leader of many partitions would have
// to bring it to each. An event that may lead to a proposal carries the newest image, which never
// changes.
//
// Invariants, all held by TestProtocol:
//
//   - The high watermark is at most what every member of the maximal set has, and what is on the
//     leader's disk if the settings say so. It never falls.
//   - It does not move with fewer in sync than min.insync.replicas, nor while a replica is eligible
//     to lead (KIP-966).
//   - An image of the present partition epoch, or of a lower one, changes nothing.
//   - A proposal names the leader, committed members, and brokers that the image has registered at
//     the epoch that they fetch with. The latter have all that is committed, all that the leader
//     began with, and the leader's log start.
//   - There is one proposal at a time. One that is refused, or whose outcome is not known, ends in
//     Committed, or in a state that an image will end.
package insync
