// Package insync is the in-sync protocol of a partition's leader as a pure state machine: which
// replicas have what, which ISR is committed, which ones may be, and how far the high watermark
// advances. Kafka's Partition.scala is the model (KIP-497, KIP-903, KIP-966).
//
// [Step] takes a state and an event, and returns the next state and its effects. It has no lock, no
// log, no clock, no goroutine and no random order, so the same events give the same effects. Each
// event carries what the protocol has to know of the world. Package replication reads that under a
// lock, carries out the effects before it releases the lock, and does everything that waits.
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
// The committed ISR is the image's. The maximal ISR is the committed one plus all members of the
// sets that were proposed on it and may have been written. A member is a broker at one of its
// epochs.
//
// There is no event for a change of the registered brokers: a leader of many partitions would have
// to send it to each of them. Instead, an event that may lead to a proposal carries the newest
// image, which never changes.
//
// Invariants, all held by TestProtocol:
//
//   - The high watermark is at most the log end of every member of the maximal ISR, and at most
//     what is on the leader's disk if the settings require that. It never falls.
//   - It does not advance while the ISR is smaller than min.insync.replicas, nor while a replica is
//     eligible to lead (KIP-966).
//   - An image of the present partition epoch, or of a lower one, changes nothing.
//   - A proposal names the leader, committed members, and brokers that the image has registered at
//     the epoch under which they fetch. The latter have all committed records, all records that the
//     leader began with, and the leader's log start offset.
//   - There is one proposal at a time. A proposal that is refused, or whose outcome is unknown,
//     ends in Committed, or in a state that an image will end.
package insync
