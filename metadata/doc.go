// Package metadata owns the state of the cluster: which brokers live, which
// topics exist, who leads their partitions, and the dynamic settings. The truth
// is in the Store (etcd; MemStore in tests), every broker follows it into an
// immutable Image, and every change is a compare-and-swap.
//
// It knows nothing of logs, tiers, sockets or the Kafka protocol, and it does
// not know which settings there are: callers validate them.
//
// # Parts
//
//	Store         the seam: etcd's revisions, comparisons, leases, watches; metadatatest checks it
//	Image         the cluster as of one revision; Follower keeps the newest
//	Registration  this broker's key under its lease
//	Controller    the one broker that repairs leadership; Plan is its pure core
//	Admin         what users change; every broker has one
//
// # Keys
//
// They are relative to the cluster's root, which the store adds
// (/varve/<cluster>/ in etcd). Values are JSON objects with a version "v"; readers
// ignore fields that they do not know. An incompatible change takes a new key.
//
//	cluster-id             {v, id}                             drawn by the first broker, never changed
//	brokers/<id>           {v, incarnation, directory_id,      under the broker's lease; its create revision
//	                        rack, listeners, started_ms}       is the broker epoch
//	controller             {v, broker, broker_epoch}           under the same lease; its create revision is
//	                                                           the controller epoch
//	topics/<name>          {v, id, partitions, created_ms}     the topic exists; its partitions are those
//	                                                           numbered below "partitions"
//	partitions/<id>/<n>    {v, replicas, isr, adding,          <id> is the topic's
//	                        removing, elr, leader,
//	                        leader_epoch, leader_broker_epoch,
//	                        partition_epoch, created_ms}
//	configs/topics/<name>  {v, configs}                        absent: all defaults
//	configs/brokers/<id>   {v, configs}                        <id> is "default" for all brokers
//	producer-ids           {v, next}
//	tier/<id>/<n>                                              belongs to package tiering
//
// # Invariants
//
//   - A topic begins to exist, grows and ceases to exist at one revision, however many
//     transactions its partitions take (Admin.create, Admin.addPartitions).
//   - Of a creation that goes on and a cleanup that takes it for dead, exactly one succeeds.
//   - A broker id has one live registration. A restart of the same data directory
//     replaces its predecessor at once; anybody else is refused while that lives.
//   - A leader is a broker id and the broker epoch it was elected under: a broker that
//     comes back is elected again, under the next leader epoch, before it leads.
//   - What the controller writes compares the controller's key: a deposed one changes nothing.
//   - The revision of a broker's image never goes back.
package metadata
