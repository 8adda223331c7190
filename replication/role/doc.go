// Package role decides what this broker is to one partition, and what follows from that, as pure
// functions: no lock, no log, no clock, no goroutine. Package replication tells it what an image,
// the registration and the log are, has its effects happen, and does everything that waits. Kafka
// has this in BrokerMetadataPublisher, ReplicaManager.applyDelta and Partition.makeLeader.
//
//	        Seen             LogOpened          Seen: this broker is elected
//	Absent ──────▶ (open) ──────────▶ Offline ─────────────────────────────▶ Leader
//	                                   ▲  ▲ │                                │ ▲ │
//	                                   │  │ │ Seen: another is elected       │ │ │ Seen: newer, of
//	                                   │  │ ▼                                │ │ │ the same epoch
//	                         Seen: no  │ Follower ◀──────────────────────────┘ └─┘
//	                         leader    ▼
//	                                  Unregistered: this broker is elected, under a registration
//	                                  that this process does not have
//
//	Removed leads to Gone from all of them but Absent. Seen leads from each of the four others to
//	each of them.
//
// States. [State] has a [Kind] and what the image said, a [View]. Only [Step] makes the next state.
// A state never changes, so that those who serve clients read it through an atomic pointer.
//
// Events. [Seen] is what an image has of a partition that it has here, with this broker's
// registration and the end of the log. [LogOpened] says that the log is open, [Removed] that an
// image has the partition here no more. Whether it may be removed, and what becomes of its log, is
// the answer of [State.Fate] and [Stray.Fate] to how the image lacks it.
//
// Effects. [Step] returns one [Change], which is done before the state is replaced, and a broker
// epoch that may have to be waited for. What others have to know follows from the state that holds:
// [Told.Announce] for the topic's listener, [Told.Duty] for the remote tier and the log's files,
// [State.Fetch] for the fetcher, [State.Serve] for clients.
//
// Invariants, all held by TestRoles if no other test is named:
//
//   - An image of an older partition epoch or leader epoch changes nothing. One that is seen again
//     changes nothing, unless this broker has registered meanwhile.
//   - The leader epoch never goes back, and a leader epoch has one start offset.
//   - The kind is Leader only at a broker epoch that this process has registered. It stays after
//     that registration has lapsed, until an image names another leader or epoch: produce and fetch
//     go on without the metadata store.
//   - A log that has failed, and a leader's log that ends below the remote tier, serve nobody.
//   - A partition that is gone stays gone, and serves nobody. Its log goes after the remote tier
//     has let go of it.
//   - A log that an earlier process may have had is never made anew, in another directory.
//   - A log is deleted on the word of an event only: its topic was deleted, by a complete image, or
//     a newer state has the partition on other brokers. What an image merely lacks is set aside if
//     the image is complete, and left alone if it is not. (TestFate)
//   - The listener of a topic is told of an election at ascending epochs, and of a resignation only
//     after an election.
//
// Crashes. Nothing of a state is stored: a start begins at Absent and sees the newest image. What a
// crash leaves behind is on the disk, and each effect may be done again:
//
//   - while a log is created: its directory is there or not; the next start creates it, or opens
//     it;
//   - after MakeLeader has noted the leader epoch, before anything is served: the epoch begins at
//     the same offset the next time, or the process is not elected at it again, and a later epoch
//     with the same start offset takes its place;
//   - between Removed and the deletion of the log: the log is a stray at the next start, and
//     [Stray.Fate] sets it aside;
//   - before the remote tier was told: nothing is uploaded until it is.
package role
