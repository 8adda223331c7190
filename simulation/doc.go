// Package simulation plays whole clusters of brokers in one process, in virtual time, from a seed.
// One History is one run: its trace is the same bytes whenever and wherever it is played.
//
// It owns
//
//   - the scheduler, which has the virtual time and all chance (scheduler.go, coroutine.go);
//   - the network between brokers, and between them and etcd (network.go);
//   - etcd, with revisions, comparisons, leases, watches, outages, an older backup in its place, and
//     requests and replies that are late or lost (etcd.go, etcd_client.go);
//   - the object store, which forgets nothing, and requests to it that are late, lost, done twice, or
//     answered and not done (bucket.go, bucket_client.go);
//   - what of a broker outlives its process (host.go), and the loops of one (process.go);
//   - clients, which ask for the verdicts on their requests at any later time (client.go);
//   - what can happen to a cluster (verbs.go), and how much of it does (generate.go);
//   - the invariants (checker.go, truth.go), and the end of all faults (heal.go);
//   - the search for a shorter history that fails (shrink.go).
//
// The rest is real. The registration, the loader, the controller and the administrator of package
// metadata, and with a bucket the manager of package tiering, run as coroutines: where they would wait, package stepped has them suspended until the
// scheduler goes on with them. The replicas of a broker are a Node. The tests of package replication
// implement it by its partitions, with real logs on a disk in memory. What calls them in a broker is
// the simulation's: images that are applied late and again, fetches, in-sync sets that are written,
// followers that lag, flushes, checkpoints and retention.
//
// It must not know how replicas or the remote tier work: it imports neither replication nor storage
// nor tiering. Of the tier it knows the formats, to see what is in the bucket.
//
// What is checked, after every step that may have changed it:
//
//   - What is below any replica's high watermark is the same everywhere and for ever, and no
//     consumer reads above it.
//   - A replica that the truth has in sync, or eligible to lead, and whose disk has lost nothing,
//     has everything that is committed.
//   - The elected leader has it too, unless every disk that had it has lost something.
//   - As many such replicas as min.insync.replicas has promised are left when one is given up.
//   - What is acknowledged is committed, at its offset.
//   - What is acknowledged as deleted is below the start of every later leader's log.
//   - No replica in sync is told to give up what is committed.
//   - Whatever a tier's pointer leads to is in the bucket, whole, without a gap, and is what was
//     committed. Nothing that it names is deleted.
//   - What a log has above its start and not on its disk, the tier has.
//   - What all disks have lost and the tier has gets no other record in its place, unless the log
//     that an election took goes on with something else: then its leader cuts the tier.
//   - Once nothing is wrong any more, every partition has a leader and all its replicas in sync,
//     every append has its verdict, and new ones are committed, within healTime. All closed segments
//     are in the tier, and all that is committed can be read, whichever tier has it.
//
// The model forgives one thing. A machine that crashes loses what was not synced, and a directory
// that is lost everything. What all that had it have lost is not committed any more, but for what the
// tier has.
//
// Invariants of the package itself:
//
//   - One coroutine runs at a time. Nothing that is stepped has a goroutine, a select, a clock,
//     chance or the order of a map of its own. (TestNothingIsLeftToChance)
//   - The same history is the same trace. (replication: TestSimulationIsReplayed)
//   - Each stream of chance has a name, so that an action that is taken out of a history changes
//     little else in it.
//   - What happens to one process concerns the waits of no other: see scheduler.poll.
package simulation
