// Package simulation runs whole clusters of brokers in one process, in virtual time, from a seed.
// One History is one run: its trace is the same bytes whenever and wherever it is run.
//
// It owns
//
//   - the scheduler, which has the virtual time and all randomness (scheduler.go, coroutine.go);
//   - the network between brokers, and between them and etcd (network.go);
//   - etcd, with revisions, comparisons, leases, watches, outages, an older backup in its place,
//     and requests and replies that are late or lost (etcd.go, etcd_client.go);
//   - the object store, which loses no object, and requests to it that are late, lost, executed
//     twice, or answered without being executed (bucket.go, bucket_client.go);
//   - the part of a broker that outlives its process (host.go), and the loops of a process
//     (process.go);
//   - clients, which ask for the outcomes of their requests at any later time (client.go);
//   - what can happen to a cluster (verbs.go), and how much of it does (generate.go);
//   - the invariants (checker.go, truth.go, tier.go), and the end of all faults (heal.go);
//   - the search for a shorter history that fails (shrink.go).
//
// The rest is real. The registration, the loader, the controller and the administrator of package
// metadata, and with a bucket the manager of package tiering, run as coroutines: where they would
// wait, package stepped suspends them until the scheduler resumes them. The replicas of a broker
// are a Node. The tests of package replication implement Node with its partitions, with real logs
// on an in-memory disk. The simulation replaces what calls the partitions in a broker: images that
// are applied late and repeatedly, fetches, ISR changes that are written, followers that are
// behind, flushes, checkpoints and retention.
//
// It must not know how replicas or the remote tier work: it imports neither replication nor storage
// nor tiering. It knows the formats of the tier, so that it can check what is in the bucket.
//
// It checks after every step that may have changed the state in question:
//
//   - The records below any replica's high watermark are the same on all replicas and never change,
//     and no consumer reads above it.
//   - A replica that the truth has in sync, or eligible to lead, and whose disk has lost nothing,
//     has all committed records.
//   - The elected leader has them too, unless every disk that had them has lost something.
//   - When a replica is given up, as many such replicas remain as min.insync.replicas promises.
//   - An acknowledged record is committed, at its offset.
//   - Records whose deletion was acknowledged are below the start of every later leader's log.
//   - No in-sync replica has to give up committed records.
//   - Everything that a tier's pointer leads to is in the bucket, complete, without a gap, and
//     equal to what was committed. No object that it names is deleted.
//   - What a log has above its start but not on its disk is in the tier.
//   - No other record replaces a record that all disks have lost and the tier has, unless the log
//     of the elected leader continues with other records: then that leader truncates the tier.
//   - After all faults have ended, every partition gets a leader and all its replicas in sync,
//     every append gets its outcome, and new appends are committed, within healTime. All closed
//     segments are in the tier, and all committed records can be read, from whichever tier has
//     them.
//
// The model tolerates one kind of loss. A machine that crashes loses what was not synced, and a
// lost directory loses everything. A record that all disks that had it have lost is no longer
// committed, unless the tier has it.
//
// Invariants of the package itself:
//
//   - One coroutine runs at a time. Stepped code has no goroutine, select, clock, randomness or map
//     order of its own. (TestNothingIsLeftToChance)
//   - The same history has the same trace. (replication: TestSimulationIsReplayed)
//   - Each random stream has a name, so that removing an action from a history changes little else
//     in it.
//   - What happens to one process does not affect the waits of another: see scheduler.poll.
package simulation
