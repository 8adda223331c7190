package config

import "math"

const unlimited = "9223372036854775807"

// topicTable holds the topic configurations that this version honors.
var topicTable = newTable("topic", namesOf("topic"),
	topicKey("cleanup.policy", List, "delete", "", "log.cleanup.policy", cleanupPolicies(),
		"What happens to old segments: delete removes them by age and size, compact keeps the last record of each key; both may be named. "+
			"An empty list keeps everything for ever."),
	topicKey("compression.gzip.level", Int, "-1", "", "compression.gzip.level", minusOneOr(between(1, 9)),
		"The level at which the broker compresses with gzip; -1 is the codec's own default."),
	topicKey("compression.lz4.level", Int, "9", "", "compression.lz4.level", between(1, 17),
		"The level at which the broker compresses with lz4; 9 is the fast compressor, as in Kafka, and 10 and above are the same."),
	topicKey("compression.type", String, "producer", "", "compression.type", oneOf("uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"),
		"The codec that batches are stored in; batches in another one are compressed again. producer keeps what the producer chose."),
	topicKey("compression.zstd.level", Int, "3", "", "compression.zstd.level", between(-131072, 22),
		"The level at which the broker compresses with zstd. There are four: below 3, 3 to 5, 6 to 9, and 10 and above."),
	topicKey("delete.retention.ms", Long, "86400000", "ms", "log.cleaner.delete.retention.ms", atLeast(0),
		"How long a compacted topic keeps the tombstone of a deleted key, and the marker of a transaction of which nothing is left."),
	topicKey("file.delete.delay.ms", Long, "60000", "ms", "log.segment.delete.delay.ms", atLeast(0),
		"How long the files of a deleted segment stay on disk."),
	topicKey("flush.messages", Long, unlimited, "", "log.flush.interval.messages", atLeast(1),
		"How many records may be appended between two fsyncs; with 1 nobody reads a record, and no producer hears of it, before it is on the disk."),
	topicKey("flush.ms", Long, unlimited, "ms", "log.flush.interval.ms", atLeast(0),
		"How long an appended record may wait for an fsync."),
	topicKey("follower.replication.throttled.replicas", List, "", "", "", throttledReplicas(),
		"The replicas of the topic that follower.replication.throttled.rate holds for on the brokers that follow, as PARTITION:BROKER; * means all of them."),
	topicKey("index.interval.bytes", Int, "4096", "bytes", "log.index.interval.bytes", atLeast(0),
		"How many log bytes lie between two entries of the offset and time indexes."),
	topicKey("leader.replication.throttled.replicas", List, "", "", "", throttledReplicas(),
		"The replicas of the topic that leader.replication.throttled.rate holds for on the brokers that lead, as PARTITION:BROKER; * means all of them."),
	topicKey("local.retention.bytes", Long, "-2", "bytes", "log.local.retention.bytes", atLeast(-2),
		"How many bytes of a tiered partition stay on local disk once they are in the object store; -2 means as retention.bytes."),
	topicKey("local.retention.ms", Long, "-2", "ms", "log.local.retention.ms", atLeast(-2),
		"How long the segments of a tiered partition stay on local disk once they are in the object store; -2 means as retention.ms."),
	topicKey("max.compaction.lag.ms", Long, unlimited, "ms", "log.cleaner.max.compaction.lag.ms", atLeast(1),
		"How long a record of a compacted topic may wait for compaction, whatever min.cleanable.dirty.ratio says; segments are closed in time for it."),
	topicKey("max.message.bytes", Int, "1048588", "bytes", "message.max.bytes", atLeast(0),
		"The largest record batch that is accepted."),
	topicKey("message.timestamp.after.max.ms", Long, "3600000", "ms", "log.message.timestamp.after.max.ms", atLeast(0),
		"How far a record's timestamp may be ahead of the broker's clock."),
	topicKey("message.timestamp.before.max.ms", Long, unlimited, "ms", "log.message.timestamp.before.max.ms", atLeast(0),
		"How far a record's timestamp may be behind the broker's clock."),
	topicKey("message.timestamp.type", String, "CreateTime", "", "log.message.timestamp.type", oneOf("CreateTime", "LogAppendTime"),
		"Whether a record's timestamp is the producer's or the time of the append."),
	topicKey("min.cleanable.dirty.ratio", Double, "0.5", "", "log.cleaner.min.cleanable.ratio", upTo(1),
		"How much of what can be compacted must not have been, before it is: less means more work, more means more space for old records."),
	topicKey("min.compaction.lag.ms", Long, "0", "ms", "log.cleaner.min.compaction.lag.ms", atLeast(0),
		"How long a record of a compacted topic stays whatever comes after it."),
	topicKey("min.insync.replicas", Int, "1", "", "min.insync.replicas", atLeast(1),
		"How many replicas must have a record before acks=all is answered."),
	topicKey("preallocate", Boolean, "false", "", "log.preallocate", validator{},
		"Whether the disk space of a new segment is reserved when its first record comes; what is left is given back when it is closed."),
	topicKey("remote.copy.lag.bytes", Long, "-1", "bytes", "log.remote.copy.lag.bytes", atLeast(-1),
		"How many bytes of the log have to be behind a closed segment before it is uploaded, unless remote.copy.lag.ms is over before; 0 is at once, -1 as the local retention."),
	topicKey("remote.copy.lag.ms", Long, "0", "ms", "log.remote.copy.lag.ms", atLeast(-1),
		"How old the newest record of a closed segment has to be before it is uploaded, unless it is remote.copy.lag.bytes behind before; 0 is at once, -1 as the local retention."),
	topicKey("remote.log.copy.disable", Boolean, "false", "", "", validator{},
		"Whether uploads of a tiered topic stop; what is in the object store stays readable."),
	topicKey("remote.storage.enable", Boolean, "true", "", "log.remote.storage.enable", validator{},
		"Whether closed segments go to the object store. Kafka's default is false. Compacted topics are never tiered."),
	topicKey("retention.bytes", Long, "-1", "bytes", "log.retention.bytes", validator{},
		"How many bytes a partition keeps over both tiers; -1, or less, means no limit."),
	topicKey("retention.ms", Long, "604800000", "ms", "log.retention.ms", atLeast(-1),
		"How long records are kept over both tiers; -1 means for ever."),
	topicKey("segment.bytes", Int, "1073741824", "bytes", "log.segment.bytes", atLeast(1<<20),
		"The size at which a segment is closed; closed segments are what is uploaded and deleted."),
	topicKey("segment.index.bytes", Int, "10485760", "bytes", "log.index.size.max.bytes", atLeast(4),
		"The size at which a segment's offset index is full and the segment is closed."),
	topicKey("segment.jitter.ms", Long, "0", "ms", "log.roll.jitter.ms", atLeast(0),
		"At most how much earlier than segment.ms a segment is closed, at random, so that partitions do not roll together."),
	topicKey("segment.ms", Long, "604800000", "ms", "log.roll.ms", atLeast(1),
		"The age at which a segment that has records is closed."),
	topicKey("unclean.leader.election.enable", Boolean, "false", "", "unclean.leader.election.enable", validator{},
		"Whether a replica that is not in sync may lead when no other can. With one replica, which always is in sync, both values mean the same."),
	topicKey("varve.ack.fsync", Boolean, "false", "", "varve.ack.fsync", validator{},
		"Whether acks=1 and acks=all are answered only when the records are on this broker's disk. Consumers may read them before; flush.messages=1 includes this."),
	topicKey("varve.tier.max.lag.ms", Long, "-1", "ms", "varve.tier.max.lag.ms", minusOneOr(atLeast(1)),
		"How long a record may stay on local disk only: the segment that has it is closed then, and uploaded whatever remote.copy.lag says. "+
			"Records of undecided transactions wait for these. -1 is no bound."),
)

func topicKey(name string, typ Type, def, unit, synonym string, v validator, doc string) Key {
	return Key{
		Name: name, Type: typ, Default: def, Unit: unit, Synonym: synonym, Dynamic: ClusterWide, Doc: doc,
		Validate: v.check, allowed: v.allowed,
	}
}

// int32Max bounds the values that Kafka holds in an INT.
const int32Max = math.MaxInt32
