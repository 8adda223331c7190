package config

import "math"

// brokerTable holds the broker configurations that this version honors. The defaults of topic
// configurations and the configurations of compaction take effect at once. The others are read at
// start. If a default differs from Kafka's, the doc says so.
var brokerTable = newTable("broker", namesOf("broker"), brokerKeys()...)

// The replica selectors (KIP-392) have the names of Kafka's classes.
const (
	leaderSelector           = "org.apache.kafka.common.replica.LeaderSelector"
	rackAwareReplicaSelector = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
)

// SelectsByRack reports whether a value of replica.selector.class sends consumers to a replica in
// their rack.
func SelectsByRack(replicaSelector string) bool { return replicaSelector == rackAwareReplicaSelector }

// leaderImbalance is a configuration of Kafka before version 4.
const leaderImbalance = "leader.imbalance.per.broker.percentage"

func brokerKeys() []Key {
	keys := []Key{
		// Connections and requests.
		brokerKey("connections.max.idle.ms", Long, "600000", "ms", atLeast(1),
			"How long a connection may be idle before it is closed."),
		brokerKey("fetch.max.bytes", Int, "57671680", "bytes", atLeast(1024),
			"The largest fetch response, whatever the client asks for; one batch is always returned whole."),
		brokerKey("max.connections", Int, "10000", "", between(1, int32Max),
			"How many connections are served at a time, of all listeners together; more wait. The listener that brokers reach each other at counts by itself. Kafka has no limit by default."),
		brokerKey("max.connections.per.ip", Int, "2147483647", "", between(1, int32Max),
			"How many client connections one address may have open; more are closed at once."),
		brokerKey("max.incremental.fetch.session.cache.slots", Int, "1000", "", atLeast(0),
			"How many incremental fetch sessions are remembered."),
		brokerKey("queued.max.request.bytes", Long, "268435456", "bytes", minusOneOr(atLeast(1)),
			"How many bytes all requests in memory take together; connections wait for room. -1 means no limit, which is Kafka's default."),
		brokerKey("socket.request.max.bytes", Int, "104857600", "bytes", atLeast(1),
			"The largest request that is accepted."),

		clusterKey(brokerKey("varve.metrics.partitions", Boolean, "true", "", validator{},
			"Whether /metrics has series of single partitions, of up to 10000 on each broker, and of groups' offsets in them. Without, topics and groups still have theirs.")),

		nullKey(brokerKey(interBrokerListener, String, "", "", validator{},
			"The listener that brokers reach each other at; it must be advertised. While neither it nor security.inter.broker.protocol is set: PLAINTEXT.")),
		brokerKey(protocolMap, String, defaultProtocols, "", protocols(),
			"The security protocol of each listener. Kafka's default has entries for SASL as well."),

		// Topics.
		brokerKey("auto.create.topics.enable", Boolean, "true", "", validator{},
			"Whether a metadata request creates the topics it names, if its client allows that."),
		brokerKey("default.replication.factor", Int, "1", "", atLeast(1),
			"The replication factor of topics that are created without one. If it is not set: 3, or as many as there are known brokers if those are fewer."),
		brokerKey("delete.topic.enable", Boolean, "true", "", validator{},
			"Whether topics can be deleted."),
		brokerKey("num.partitions", Int, "1", "", atLeast(1),
			"The number of partitions of topics that are created without one."),

		// Replication.
		brokerKey("auto.leader.rebalance.enable", Boolean, "true", "", validator{},
			"Whether leadership goes back to preferred replicas by itself. The controller's value counts: give all brokers the same."),
		brokerKey("leader.imbalance.check.interval.seconds", Long, "300", "seconds", atLeast(1),
			"How often the controller looks whether leadership should go back to preferred replicas."),
		brokerKey(leaderImbalance, Int, "10", "percent", between(0, 100),
			"How many of the partitions that prefer a broker others may lead before leadership goes back to it. Kafka 4 has dropped this and acts upon any."),
		clusterKey(brokerKey("follower.replication.throttled.rate", Long, unlimited, "bytes", atLeast(0),
			"How much a second this broker fetches for the replicas that follower.replication.throttled.replicas of their topics names, as long as they are not in sync.")),
		clusterKey(brokerKey("leader.replication.throttled.rate", Long, unlimited, "bytes", atLeast(0),
			"How much a second this broker sends of the partitions that leader.replication.throttled.replicas of their topics names, to replicas that are not in sync.")),
		brokerKey("num.replica.fetchers", Int, "1", "", atLeast(1),
			"How many connections a broker follows each leader over."),
		clusterKey(brokerKey("replica.alter.log.dirs.io.max.bytes.per.second", Long, unlimited, "bytes", atLeast(0),
			"How much of replicas that move between log directories of this broker is copied in a second, of all together; 0 stops them.")),
		brokerKey("replica.fetch.max.bytes", Int, "1048576", "bytes", atLeast(0),
			"How much a follower asks for of one partition at a time. A larger batch comes all the same."),
		brokerKey("replica.fetch.response.max.bytes", Int, "10485760", "bytes", atLeast(0),
			"How much a follower asks for of all partitions of a leader at a time."),
		brokerKey("replica.fetch.wait.max.ms", Int, "500", "ms", atLeast(0),
			"How long a leader waits for news before it answers a follower."),
		nullKey(brokerKey("replica.selector.class", String, "", "", oneOf("", leaderSelector, rackAwareReplicaSelector),
			"Which replica a consumer is sent to: the leader, or with "+rackAwareReplicaSelector+" one in the rack that its client.rack names.")),
		brokerKey("replica.lag.time.max.ms", Long, "30000", "ms", atLeast(1),
			"How long a follower may lack something before it is no longer in sync."),
		brokerKey("replication.quota.window.num", Int, "11", "", atLeast(1),
			"For how many windows the traffic of replicas in sync counts against the rates of replication throttles."),
		brokerKey("replication.quota.window.size.seconds", Int, "1", "seconds", atLeast(1),
			"How long a window of replication throttles is: what was not used of a rate during one may be used at once."),

		// Log.
		clusterKey(brokerKey("log.cleaner.backoff.ms", Long, "15000", "ms", atLeast(0),
			"How long compaction rests when no log is due.")),
		clusterKey(brokerKey("log.cleaner.dedupe.buffer.size", Long, "134217728", "bytes", validator{},
			"How much memory the maps of keys take, of all compactions together: 24 bytes a key. What does not fit is compacted the next time.")),
		brokerKey("log.cleaner.enable", Boolean, "true", "", validator{},
			"Whether compacted topics are compacted."),
		clusterKey(brokerKey("log.cleaner.io.buffer.load.factor", Double, "0.9", "", upTo(1),
			"How full the maps of keys get: more holds more keys, but finds them more slowly.")),
		clusterKey(brokerKey("log.cleaner.io.buffer.size", Int, "524288", "bytes", atLeast(0),
			"How large the buffers for reading and writing are, of all compactions together.")),
		clusterKey(brokerKey("log.cleaner.io.max.bytes.per.second", Double, "1.7976931348623157E308", "bytes", validator{},
			"How much all compactions together read and write in a second.")),
		clusterKey(brokerKey("log.cleaner.threads", Int, "1", "", atLeast(0),
			"How many logs are compacted at the same time.")),
		nullKey(brokerKey("log.dir", List, "", "", directories(),
			"The value of log.dirs while that is not set.")),
		nullKey(brokerKey("log.dirs", List, "", "", directories(),
			"The directories of the local log, one for each disk; a new partition goes to the one with the fewest. While neither is set: logs, below the data directory.")),
		brokerKey("log.flush.offset.checkpoint.interval.ms", Int, "60000", "ms", atLeast(1),
			"How often the recovery points are written; a crash scans what was appended since."),
		brokerKey("log.retention.check.interval.ms", Long, "300000", "ms", atLeast(1),
			"How often segments are checked for deletion."),
		brokerKey("num.recovery.threads.per.data.dir", Int, "2", "", atLeast(1),
			"How many logs are opened and recovered at the same time."),
		brokerKey("producer.id.expiration.ms", Int, "86400000", "ms", atLeast(1),
			"How long an idempotent producer that writes nothing is remembered in a partition."),
		clusterKey(brokerKey("varve.disk.high.watermark", Double, "0.95", "", upTo(math.MaxInt64),
			"How full the volume of a log directory may get: as a fraction of the volume up to 1, in bytes above that. Beyond it segments that are in the object store are deleted "+
				"from the directory, the oldest ones first, before local retention asks for it. 0 turns this off.")),
		clusterKey(brokerKey("varve.disk.low.watermark", Double, "0.9", "", upTo(math.MaxInt64),
			"How full the volume is left when varve.disk.high.watermark was passed, in the same units.")),
		brokerKey("varve.log.reserve.bytes", Long, "268435456", "bytes", atLeast(0),
			"How much of a disk the logs on it leave free, an eighth of the disk at most: below it records are refused as on a full disk. Embedded etcd, which ends the broker when it finds no space, and checkpoints have that room. 0: none."),
		brokerKey("varve.log.stall.timeout.ms", Long, "30000", "ms", atLeast(1000),
			"How long a write, a sync or a change of names on a disk may take. A log directory in which one takes longer has failed, as after a disk error: its partitions are offline until the broker restarts."),
		brokerKey("varve.log.stray.retention.ms", Long, "604800000", "ms", atLeast(-1),
			"How long a log is kept that the cluster does not have on this broker, and that no deletion explains: it is set aside under a name that ends in -stray. -1 keeps it until it is removed by hand. See varve log strays."),
		brokerKey("varve.log.writeback.bytes", Long, "0", "bytes", atLeast(0),
			"After how many appended bytes of a segment they begin to be written to the disk, on Linux, so that a later fsync has little left to do. Nothing waits for that; 0 leaves the time to the system."),
		nullKey(brokerKey("varve.lost.log.dirs", List, "", "", validator{},
			"Ids (directory.id) of log directories that are gone for good: partitions that were there begin anew, empty. One start with it is enough.")),
		brokerKey("varve.partition.hang.max.ms", Long, "10000", "ms", atLeast(100),
			"How long an append, a sync of flush.messages=1, a role change or the deletion of a partition may stand still. After that this broker does not renew "+
				"its registration until it moves again, so that other brokers take over."),

		// Groups.
		brokerKey("group.initial.rebalance.delay.ms", Int, "3000", "ms", atLeast(0),
			"How long the first rebalance of an empty group waits for more members."),
		brokerKey("group.max.session.timeout.ms", Int, "1800000", "ms", atLeast(1),
			"The longest session timeout that a member may ask for."),
		brokerKey("group.max.size", Int, "2147483647", "", atLeast(1),
			"How many members a group may have."),
		brokerKey("group.min.session.timeout.ms", Int, "6000", "ms", atLeast(1),
			"The shortest session timeout that a member may ask for."),
		brokerKey("offset.metadata.max.bytes", Int, "4096", "bytes", atLeast(0),
			"How much metadata a committed offset may carry."),
		brokerKey("offsets.retention.check.interval.ms", Long, "600000", "ms", atLeast(1),
			"How often committed offsets are checked for expiry."),
		brokerKey("offsets.retention.minutes", Int, "10080", "minutes", atLeast(1),
			"How long the committed offsets of a group without members are kept."),
		brokerKey("offsets.topic.num.partitions", Int, "50", "", atLeast(1),
			"The number of partitions of __consumer_offsets; it cannot change once the topic exists."),
		brokerKey("offsets.topic.replication.factor", Short, "1", "", atLeast(1),
			"The replication factor of __consumer_offsets. If it is not set: 3, or as many as there are known brokers if those are fewer."),
		brokerKey("offsets.topic.segment.bytes", Int, "104857600", "bytes", atLeast(1<<20),
			"The segment size of __consumer_offsets."),

		// Tier.
		brokerKey("remote.fetch.max.wait.ms", Int, "500", "ms", atLeast(1),
			"How long a fetch waits for the object store before it returns what it has."),
		brokerKey("remote.log.index.file.cache.total.size.bytes", Long, "67108864", "bytes", atLeast(1<<20),
			"How much memory the caches of what leads to records in the object store may take: half of it indexes of segments, a quarter each manifests and their pages. In Kafka it is room on disk, 1 GiB by default."),
		brokerKey("remote.log.manager.copier.thread.pool.size", Int, "10", "", atLeast(1),
			"How many segments are uploaded at the same time."),
		clusterKey(brokerKey("remote.log.manager.copy.max.bytes.per.second", Long, unlimited, "bytes", atLeast(1),
			"How many bytes a second this broker uploads to the object store, all partitions together.")),
		brokerKey("remote.log.manager.copy.quota.window.num", Int, "11", "", atLeast(1),
			"How many windows what is not used of remote.log.manager.copy.max.bytes.per.second is kept for: it may be sent at once."),
		brokerKey("remote.log.manager.copy.quota.window.size.seconds", Int, "1", "seconds", atLeast(1),
			"The length of such a window."),
		brokerKey("remote.log.manager.fetch.max.bytes.per.second", Long, unlimited, "bytes", atLeast(1),
			"How many bytes a second readers get from the object store on this broker. More wait."),
		brokerKey("remote.log.manager.task.interval.ms", Long, "30000", "ms", atLeast(1),
			"How often partitions are checked for segments to upload or to delete from the object store; a closed segment is uploaded at once."),
		brokerKey("remote.log.reader.threads", Int, "10", "", atLeast(1),
			"How many reads of the object store run at the same time, for all fetches and for what is read ahead of them. A fifth of them, one at least, is kept free of reads ahead."),
		brokerKey("varve.objstore.attempt.timeout.ms", Int, "5000", "ms", atLeast(1),
			"How long one attempt of an object store request may take, not counting a second for each MiB it moves and for 50 objects it lists or deletes; it is then repeated. Below the 30000 that a request may take in all."),
		brokerKey("varve.objstore.requests.max", Int, "128", "", atLeast(1),
			"How many object store requests are under way at the same time."),
		brokerKey("varve.tier.cache.bytes", Long, "134217728", "bytes", atLeast(1<<20),
			"How much memory the cache of chunks read from the object store may take. Half of it is for what is read again and again."),
		brokerKey("varve.tier.chunk.bytes", Int, "262144", "bytes", between(64<<10, 64<<20),
			"The least that is read from the object store of a segment: as many whole batches as fit, one at least. Sequential readers get many chunks with one request. New objects have it; old ones keep theirs."),
		brokerKey("varve.tier.client.fetch.max.bytes.per.second", Long, unlimited, "bytes", atLeast(1),
			"How many bytes a second the consumers of one client id get from the object store on each broker. More wait, and no other client does."),
		brokerKey("varve.tier.disk.cache.bytes", Long, "0", "bytes", atLeast(0),
			"How much room a cache on disk may take, of chunks that were read from the object store more than once. It survives a restart. 0 means that there is none."),
		nullKey(brokerKey("varve.tier.disk.cache.dir", String, "", "", validator{},
			"The directory of that cache, which has nothing else in it. While it is not set: tier-cache in the data directory.")),
		brokerKey("varve.tier.orphan.grace.ms", Long, "604800000", "ms", atLeast(1),
			"How long objects of topics that neither the metadata nor a tier pointer know are left in the object store after a sweep has found them: long enough for people to notice that metadata were lost."),
		brokerKey("varve.tier.read.ahead.bytes", Long, "50331648", "bytes", atLeast(0),
			"How many bytes are read ahead of all sequential readers together, at most 3/8 of varve.tier.cache.bytes. 0 means that nothing is read ahead."),
		brokerKey("varve.tier.sweep.grace.ms", Long, "3600000", "ms", atLeast(1),
			"How old an object that no manifest names must be before it is removed from the object store: longer than an upload may take, and than clocks differ."),
		brokerKey("varve.tier.sweep.interval.ms", Long, "86400000", "ms", atLeast(1),
			"How often the leader of a partition looks for objects that no manifest names, and the controller for objects of topics that nothing knows."),

		// Shown, but set through the process settings.
		shownKey("node.id", Int, "1", "node-id", "The broker's id."),
		shownKey("broker.rack", String, "", "rack", "The rack or zone the broker stands in: replicas of a partition are spread over racks, and consumers can read in theirs (replica.selector.class)."),
		shownKey("listeners", List, "", "listen", "The addresses the broker listens on."),
		shownKey("advertised.listeners", List, "", "advertise", "The addresses that clients are told."),

		// Coarser units of the defaults of topic configurations.
		brokerKey("log.flush.scheduler.interval.ms", Long, unlimited, "ms", atLeast(0), "The value of log.flush.interval.ms while that is not set."),
		brokerKey("log.retention.hours", Int, "168", "hours", atLeast(-1), "The value of log.retention.minutes while that is not set."),
		nullKey(brokerKey("log.retention.minutes", Int, "", "minutes", atLeast(-1), "The value of log.retention.ms while that is not set.")),
		brokerKey("log.roll.hours", Int, "168", "hours", atLeast(1), "The value of log.roll.ms while that is not set."),
		brokerKey("log.roll.jitter.hours", Int, "0", "hours", atLeast(0), "The value of log.roll.jitter.ms while that is not set."),
	}
	keys = append(keys, sslKeys()...)
	// Kafka's null defaults, which fall back to the keys above.
	null := map[string][]fallback{
		"log.flush.interval.ms": {{"log.flush.scheduler.interval.ms", 1}},
		"log.retention.ms":      {{"log.retention.minutes", 60_000}, {"log.retention.hours", 3_600_000}},
		"log.roll.ms":           {{"log.roll.hours", 3_600_000}},
		"log.roll.jitter.ms":    {{"log.roll.jitter.hours", 3_600_000}},
	}
	for _, topic := range topicTable.keys {
		if topic.Synonym == "" {
			continue
		}
		k := topic
		k.Name, k.Synonym, k.Dynamic = topic.Synonym, "", ClusterWide
		k.Doc = "The value of " + topic.Name + " for topics that do not set it."
		if k.fallbacks = null[k.Name]; k.fallbacks != nil {
			k = nullKey(k)
		}
		keys = append(keys, k)
	}
	return keys
}

func brokerKey(name string, typ Type, def, unit string, v validator, doc string) Key {
	return Key{Name: name, Type: typ, Default: def, Unit: unit, Doc: doc, Validate: v.check, allowed: v.allowed}
}

// clusterKey returns the key as one that can change while brokers run.
func clusterKey(k Key) Key {
	k.Dynamic = ClusterWide
	return k
}

// nullKey returns the key without a default.
func nullKey(k Key) Key {
	k.Default, k.Null = "", true
	return k
}

// shownKey is a configuration that DescribeConfigs shows and a process setting determines.
func shownKey(name string, typ Type, def, setting, doc string) Key {
	return Key{Name: name, Type: typ, Default: def, Null: def == "", Setting: setting, Doc: doc}
}
