// Package metadata owns the state of the cluster: which brokers live, which
// topics exist, who leads their partitions, and the dynamic settings. The truth
// is in a kv.Store (etcd; one in memory in tests), every broker follows it into an
// immutable Image, and every change is a compare-and-swap.
//
// It knows nothing of logs, tiers, sockets or the Kafka protocol, and it does
// not know which settings there are: callers validate them. It must not know when
// something is decided: that is package controller, which imports this one. The store is
// below it, in package kv.
//
// # Parts
//
//	Image         the cluster as of one revision; Loader keeps the newest. It shares with
//	              the one before what did not change: see Image.TopicsSince
//	Registration  this broker's key under its lease; the controller's key hangs on it
//	Repair        what a partition has to become, and who may lead it: pure
//	Admin         what users and partition leaders change; every broker has one
//	Change        a guarded write; WriteAll writes many at a time
//
// # Keys
//
// They are relative to the cluster's root, which the store adds
// (/varve/<cluster>/ in etcd). Values are JSON objects with a version "v". A reader
// keeps the fields that it does not know and writes them back; a version above its
// own is ErrValueTooNew. A new field is written from a level of varve.version on
// (features.go), a new version where older builds would misread the value.
//
//	cluster-id             {v, id}                             drawn by the first broker, never changed
//	features               {v, epoch, levels}                  founded with cluster-id at one revision; each
//	                                                           registration writes the levels again
//	brokers/<id>           {v, incarnation, directory_id,      under the broker's lease; its create revision
//	                        rack, listeners, started_ms,       is the broker epoch
//	                        directories, previous_epoch,
//	                        lost_directories, lost_epoch,
//	                        stopping, features}
//	known/<id>             {v, rack, listeners, features}      stays when the broker dies, until it is
//	                                                           unregistered; seeds that never started have one
//	seeds-known            {v}                                 the seeds have been made known, which happens once
//	controller             {v, broker, broker_epoch}           under the same lease; its create revision is
//	                                                           the controller epoch
//	topics/<name>          {v, id, partitions, created_ms}     the topic exists; its partitions are those
//	                                                           numbered below "partitions"
//	partitions/<id>/<n>    {v, replicas, isr, isr_epochs,      <id> is the topic's; the epochs and directories
//	                        isr_dirs, adding, removing, elr,   are parallel to the lists before them
//	                        elr_epochs, elr_dirs,
//	                        leader, leader_epoch,
//	                        leader_broker_epoch, unclean_epoch,
//	                        partition_epoch, created_ms}
//	configs/topics/<name>  {v, configs}                        absent: all defaults
//	configs/brokers/<id>   {v, configs}                        <id> is "default" for all brokers
//	unfinished/<id>        {v, topic, first, broken}           a creation, or an addition of partitions from "first"
//	                                                           on, that takes several transactions; its last step
//	                                                           removes it
//	producer-ids           {v, next}
//	tier/<id>/<n>                                              belongs to package tiering
//
// # Invariants
//
//   - A topic begins to exist, grows and ceases to exist at one revision, however many
//     transactions its partitions take (Admin.create, Admin.addPartitions).
//   - Of a creation that goes on and a cleanup that takes it for dead, exactly one succeeds:
//     both compare the creation's marker, and nothing is cleaned up that has none.
//   - A state that did not change is the same pointer in the next image; nothing that an
//     image shows is ever written to.
//   - Images that differ in what they show differ in their ContentRevision. One that
//     moves the Revision alone wakes those alone that wait for a revision.
//   - From a value that cannot be read until its key is read or deleted, images are
//     Incomplete. The key stays as it was, also across a list (recall). Nothing is deleted because such an image lacks it, nor because a list
//     lacks what was there before (Vanished).
//   - A broker id has one live registration. A restart of the same data directory
//     replaces its predecessor at once; anybody else is refused while that lives.
//   - A live broker is a known one. New partitions go to known brokers, dead ones if too
//     few live, so that a topic which is created while one is away has all its replicas.
//   - A leader is a broker id and the broker epoch it was elected under: a broker that
//     comes back is elected again, under the next leader epoch, before it leads.
//   - A member of an ISR or ELR is a broker id, a broker epoch and the directory that has
//     the log (Member, KIP-858). A broker that registers again is a member no longer until it
//     has caught up again, and its leader says so (KIP-903). Nor is one whose directory has
//     failed: the controller takes it out and elects another one.
//   - The ISR is never empty and always within the replicas. A live leader is a member.
//   - A reassignment takes no replica away before all of its target is in sync. Nor does one
//     that is cancelled or replaced, while fewer than min.insync.replicas of the others are
//     in sync: what was acknowledged may be on that replica and one other.
//   - The leader epoch grows with every election and with nothing else; the partition
//     epoch with every write.
//   - Unless unclean elections are allowed, who is elected has all that was committed, if
//     any member of the ISR or ELR has it (KIP-966): a live one, or one that is back and has
//     lost nothing. A member that is away may have everything, and is waited for. Only if
//     each of them is back after a crash of its machine, or without the directory, does the
//     last leader lead again if it has only crashed: it may lack what it had not flushed.
//   - A replica that has lost its directory leads only after an unclean election, which is
//     counted, logged, and noted in the partition's state.
//   - What is known to be there is not outvoted by what may be dead (Doubt).
//   - The ELR of a partition that is led is empty unless the ISR is smaller than
//     min.insync.replicas. Its members are as good as the ISR's only if a leader commits
//     nothing meanwhile: it must not advance the high watermark while its image shows an
//     ELR, or an ISR below the minimum.
//   - A partition that has become what Repair said becomes nothing else by Repair.
//   - What a leader writes compares its registration and the partition's revision: a
//     fenced one changes nothing.
//   - The revision of a broker's image never goes back, nor does the state of any key
//     in it. A store that did, as after a restored backup, is ErrWentBack: the broker
//     stops, so that no broker epoch is given twice and nothing is deleted.
//   - Nothing that a newer build has stored in a value is lost by an older one that
//     rewrites it (TestWritePathsKeepUnknownFields).
//   - All registered brokers support all finalized feature levels: a registration
//     compares the levels, and a change of the levels compares that nobody has
//     registered since they were read. A broker publishes no image of levels that it
//     does not support; it stops.
//   - The epoch of the finalized features grows with every change of them, and is beyond
//     all that was shown when brokers serve again after a restore of the store.
//
// # The life of a member
//
//	            AlterISR                dies, restarts, stops, lags
//	replica ──────────────► in the ISR ─────────────────────────────► replica
//	   ▲                     the last one stays                          │
//	   │  machine crashes, directory is lost,            ISR < minimum   │
//	   └──────────── or led and ISR >= minimum ── in the ELR ◄───────────┘
//
// A broker that stops announces it (Registration.BeginControlledShutdown), the controller moves
// leadership off it and takes it out of ISRs, and it leaves when it is
// ShouldShutDown. It remembers its epoch, which is the PreviousBrokerEpoch of its next
// registration if it has lost nothing since: after a clean stop, or when the process
// alone has crashed. A broker that dies is found out by its
// lease or, if others see its connections break (package controller), by a probe;
// these are the brokers that it fetches from as well as those that fetch from it;
// the end of the lease takes the registration and the controllership at one
// revision. Whoever becomes the controller makes its first plan on that revision.
package metadata
