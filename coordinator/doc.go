// Package coordinator runs replicated state machines, one per partition of an
// internal topic: the log of the partition is the state, what is in memory is a
// view of it. It knows nothing of groups or transactions, of Kafka's requests
// or of the network; those are the machines it is given, and their callers.
//
// A machine is driven by operations. An [Op] decides, from the state and the
// time, which records to write and what to answer, and changes nothing. When
// the records are in the log and committed they are applied, then the soft
// state and the timers change, then the answer goes out:
//
//	Submit ─► queue ─► Decide(state, now) ─► Append ─► Apply ─► Then ─► timers ─► replies
//	                     ▲    no records: at once ──────────────┘
//	          timers ────┘
//
// One goroutine per shard does all of this but the append itself, so that
// decisions and changes never overlap and a machine needs no lock. While one
// batch is being appended the shard goes on deciding; what has been decided
// meanwhile shares the next batch, so that one fsync serves many operations.
// That is sound because an operation names what it touches ([Op.Key]) and waits
// while a decision about the same thing is on its way to the log: every decision
// is made from committed state, and none has to be taken back.
//
// Invariants:
//
//   - Durable state changes in [Machine.Apply] only, live and at load, in log
//     order: replaying the log gives the live durable state.
//   - Nothing is answered before its records are committed.
//   - An operation whose records were refused has changed nothing. Soft state
//     (who waits for what, timers) changes together with the records, in Then, so
//     it is as if the operation had not been; its caller gets the error, and a
//     timer's operation is tried again after a pause.
//   - When the log cannot say whether records were written ([ErrUncertain]) the
//     shard drops its state and loads the log again, as after a failover.
//   - Soft state does not survive a failover: clients come back and rebuild it.
//   - Every waiter is answered: by its decision, or by the error that ended the shard.
//   - Queues are bounded: beyond the bound there is [ErrOverloaded], not memory.
//
// An idle shard costs one goroutine that sleeps.
package coordinator
