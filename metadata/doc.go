// Package metadata owns the state of the cluster: its brokers, its topics, the leaders of their
// partitions, and the dynamic settings. The truth is in a kv.Store (etcd; one in memory in tests).
// Each broker follows it into an immutable Image, and each change is a compare-and-swap.
//
//	┌──────────────────── kv.Store (etcd) ◄─────────────────────┐
//	│ watch                                    compare-and-swap │
//	▼                                                           │
//	Loader ──► Image ─┬─► subscribers: the packages above       │
//	                  ├─► controller (one broker): Repair ──────┤
//	                  └─► Admin (every broker): requests ───────┤
//	           Registration (every broker): key and lease ──────┘
//
// The package knows nothing of logs, tiers, sockets or the Kafka protocol, and it does not know
// which settings exist: callers validate them. It decides what a partition becomes. Package
// controller, which imports it, decides when. The store is below it, in package kv.
//
// # Parts
//
//	Image         the cluster as of one revision; Loader keeps the newest one. An image shares
//	              the unchanged parts with the image before it: see Image.TopicsSince
//	Registration  this broker's key under its lease; the controller's key is under the same lease
//	Repair        what a partition has to become, and which replica may lead it: pure
//	Admin         what users and partition leaders change; every broker has one
//	Change        a guarded write; WriteAll writes many at a time
//
// # Kafka's words
//
//	unfenced         a broker that holds a registration, called live here: Image.Brokers
//	fenced           a known broker without a registration: Image.IsFenced
//	active           unfenced and not in controlled shutdown
//	broker epoch     the create revision of a registration: Registration.BrokerEpoch,
//	                 Broker.Epoch, Member.Epoch
//	in sync          a Member of the ISR: a broker, its broker epoch and its directory
//	eligible         a Member of the ELR (KIP-966)
//
// # Keys
//
// Keys are relative to the cluster's root, which the store adds (/varve/<cluster>/ in etcd).
// Values are JSON objects with a version "v". A reader keeps the fields that it does not know and
// writes them back; a version above its own is ErrValueTooNew. A new field is written from a level
// of varve.version on (features.go). A new version is written where older builds would misread the
// value.
//
//	cluster-id             {v, id}                             drawn by the first broker; it
//	                                                           never changes
//	features               {v, epoch, levels}                  written with cluster-id at one
//	                                                           revision; each registration
//	                                                           writes the levels again
//	brokers/<id>           {v, incarnation, directory_id,      under the broker's lease; the
//	                        rack, listeners, started_ms,       create revision is the broker
//	                        directories, previous_epoch,       epoch
//	                        kept_epoch, lost_since_kept,
//	                        lost_directories, lost_epoch,
//	                        stopping, features}
//	known/<id>             {v, rack, listeners, features}      stays when the broker dies, until
//	                                                           it is unregistered; seeds that
//	                                                           never started have one too
//	seeds-known            {v}                                 the seeds have been made known,
//	                                                           which happens once
//	controller             {v, broker, broker_epoch}           under the lease of that broker;
//	                                                           the create revision is the
//	                                                           controller epoch
//	topics/<name>          {v, id, partitions, created_ms}     the topic exists; its partitions
//	                                                           are those numbered below
//	                                                           "partitions"
//	partitions/<id>/<n>    {v, replicas, isr, isr_epochs,      <id> is the topic's; epochs and
//	                        isr_dirs, adding, removing, elr,   directories are parallel to the
//	                        elr_epochs, elr_dirs,              list before them
//	                        leader, leader_epoch,
//	                        leader_broker_epoch,
//	                        unclean_epoch, lossy_epoch,
//	                        partition_epoch, created_ms}
//	configs/topics/<name>  {v, configs}                        missing: all defaults
//	configs/brokers/<id>   {v, configs}                        <id> is "default" for all brokers
//	unfinished/<id>        {v, topic, first, broken}           marker of a creation, or of an
//	                                                           addition of partitions from
//	                                                           "first" on, that takes several
//	                                                           transactions; the last one
//	                                                           removes it
//	producer-ids           {v, next}                           the next producer id to hand out
//	bucket                 {v, id, url, created_ms}            the bucket that has the history;
//	                                                           written once
//	tier/<id>/<n>                                              belongs to package tiering
//
// # Invariants
//
//   - A topic begins to exist, grows and ceases to exist at one revision, however many transactions
//     its partitions take (Admin.create, Admin.addPartitions).
//   - Of a creation and a cleanup of what it has written exactly one succeeds: both compare the
//     creation's marker. Keys without a marker are not cleaned up.
//   - A state that did not change is the same pointer in the next image. Nothing that an image
//     shows is ever written to.
//   - Two images that show different things have different ContentRevisions. An image that differs
//     in its Revision alone wakes WaitRevision and nothing else.
//   - Images are Incomplete while the store has a value that cannot be read. They show its key as
//     it was before, also after a list (recall). Nothing is deleted because an incomplete image
//     does not have it, nor because a list does not have what was there before (Vanished).
//   - A broker id has one registration at a time. A restart with the same data directory replaces
//     the registration at once. Any other broker is refused until the registration ends.
//   - A live broker is a known one. New partitions are placed on known brokers, and on fenced ones
//     if there are too few live ones: a topic that is created while a broker is fenced has all its
//     replicas.
//   - A leader is a broker id and the broker epoch of its election. A broker that registers again
//     must be elected again, under the next leader epoch, before it leads.
//   - A member of an ISR or ELR is a broker id, a broker epoch and the directory of the log
//     (Member, KIP-858). A broker that registers again is not a member until it has caught up and
//     its leader has proposed it (KIP-903). A broker whose directory has failed is not a member
//     either: the controller removes it and elects another leader.
//   - The ISR is never empty and always within the replicas. A live leader is a member.
//   - A reassignment removes no replica before all replicas of its target are in sync. A
//     reassignment that is cancelled or replaced removes none while fewer than min.insync.replicas
//     of the others are in sync: the removed replica may have one of two copies of an acknowledged
//     record.
//   - The leader epoch grows with each election and each removal of replicas, and never otherwise.
//     The partition epoch grows with each write.
//   - Unless unclean elections are allowed, an elected leader has all committed records if any
//     member of the ISR or ELR has them (KIP-966). It is a live member, or one that has registered
//     again and has lost nothing. A fenced member may have all records, so the partition waits for
//     it. If each of them is back after a crash of its machine, or without its directory, the last
//     known leader leads again unless its directory is lost: it may be missing records that it had
//     not flushed.
//   - A replica that has lost its directory leads only after an unclean election, which is counted,
//     logged, and noted in the partition's state.
//   - A member that certainly lives is not dropped in favor of members that may be dead (Doubt).
//   - The ELR of a partition with a leader is empty unless the ISR is smaller than
//     min.insync.replicas. Its members have all committed records only if the leader commits none
//     in that time: it must not advance the high watermark while its image shows an ELR, or an ISR
//     below the minimum.
//   - Repair has nothing to change in what Repair has returned.
//   - A leader's write compares its registration and the partition's revision: a fenced leader
//     changes nothing.
//   - The revision of a broker's image never goes back, nor does the state of a key in it. If the
//     store's does, as after a restore of a backup, the loader returns ErrWentBack and the broker
//     stops: no broker epoch is given twice, and nothing is deleted.
//   - An older build that rewrites a value keeps all fields that a newer one has stored in it
//     (TestWritePathsKeepUnknownFields).
//   - All live brokers support all finalized feature levels. A registration compares the levels; a
//     change of the levels compares that no broker has registered since they were read. A broker
//     publishes no image with a level that it does not support; it stops.
//   - The epoch of the finalized features grows with each change of them. After a restore of the
//     store it is higher than any that was shown before, as soon as brokers serve again.
//
// # The life of a member
//
//	            AlterISR             fenced, restarts, shuts down, lags
//	replica ──────────────► in the ISR ─────────────────────────────► replica
//	   ▲                     the last one stays                          │
//	   │  machine crashes, directory is lost,            ISR < minimum   │
//	   └──────────── or led and ISR >= minimum ── in the ELR ◄───────────┘
//
// A broker that stops begins a controlled shutdown (Registration.BeginControlledShutdown). The
// controller moves leadership to other brokers and removes the broker from ISRs; the broker stops
// when Image.ShouldShutDown returns true. If it loses nothing afterwards, its next registration
// names the broker epoch of this one as PreviousBrokerEpoch: after a clean stop, or after a crash
// of the process alone. After several such ends in a row KeptBrokerEpoch is the first epoch of
// them: the controller may not have seen the registrations in between, or may not have had time to
// write. KeptBrokerEpoch holds for all directories except those in LostSinceKept.
//
// If a broker dies, its registration ends with its lease. It ends sooner if another broker, leader
// or follower, sees a connection to it break and the controller's probe finds that the process is
// gone (package controller). The end of the lease deletes the registration and, if that broker was
// the controller, the controller's key at one revision. The next controller makes its first plan
// on that revision.
package metadata
