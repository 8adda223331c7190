// Package role decides what this broker is to one partition, and what follows from that, as pure
// functions: no lock, no log, no clock, no goroutine. Package replication passes in the image, the
// registration and the state of the log, carries out the effects, and does everything that waits.
// Kafka's counterparts are BrokerMetadataPublisher, ReplicaManager.applyDelta and
// Partition.makeLeader.
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
// Removed leads to Gone from every state except Absent. Seen leads from each of Offline,
// Unregistered, Follower and Leader to each of them.
//
// States. [State] has a [Kind] and what the image said, a [View]. Only [Step] makes the next state.
// A state never changes, so the goroutines that serve clients read it through an atomic pointer.
//
// Events. [Seen] carries what an image says about a partition that it has on this broker, together
// with this broker's registration and the end of the log. [LogOpened] reports that the log is open.
// [Removed] reports that an image no longer has the partition here. [State.Fate] and [Stray.Fate]
// decide from the way in which a log is missing in an image whether it may be removed, and how.
//
// Effects. [Step] returns one [Change], which is carried out before the state is replaced, and a
// broker epoch that the caller may have to wait for. What others need to know follows from the
// current state: [Told.Announce] for the topic's listener, [Told.Duty] for the remote tier and the
// log's files, [State.Fetch] for the fetcher, [State.Serve] for clients.
//
// Invariants, all held by TestRoles if no other test is named:
//
//   - An image with an older partition epoch or leader epoch changes nothing. An image that is seen
//     again changes nothing, unless this broker has registered in between.
//   - The leader epoch never goes back, and a leader epoch has one start offset.
//   - The kind is Leader only at a broker epoch that this process has registered. It stays Leader
//     after that registration has lapsed, until an image names another leader or epoch: produce and
//     fetch continue without the metadata store.
//   - A failed log serves no request, and neither does a leader's log that ends below the remote
//     tier.
//   - A partition that is gone stays gone, and serves no request. Its log is removed after the
//     remote tier has detached it.
//   - A log that an earlier process may have had is never created again from scratch, in another
//     directory.
//   - A log is deleted only because of an event: a complete image shows that its topic was deleted,
//     or a newer state has the partition on other brokers. A log that is merely missing in an image
//     is set aside if the image is complete, and left alone if it is not. (TestFate)
//   - A topic's listener is notified of elections at ascending epochs, and of a resignation only
//     after an election.
//
// Crashes. Nothing of a state is stored: a start begins at Absent and sees the newest image. What a
// crash leaves behind is on disk, and each effect may be repeated:
//
//   - while a log is created: its directory exists or not; the next start opens the log or creates
//     it;
//   - after MakeLeader has recorded the leader epoch, before anything is served: the epoch starts
//     at the same offset the next time. If the process is not elected at it again, a later epoch
//     with the same start offset replaces it;
//   - between Removed and the deletion of the log: the log is a stray at the next start, and
//     [Stray.Fate] sets it aside;
//   - before the remote tier is notified of a role: nothing is uploaded until it is.
package role
