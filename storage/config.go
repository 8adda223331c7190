package storage

import (
	"math"

	"github.com/varvelog/varve/record"
)

// TimestampType says whose clock gives records their timestamp.
type TimestampType int8

// The values of message.timestamp.type.
const (
	CreateTime TimestampType = iota
	LogAppendTime
)

// Compression says how batches are stored; the zero value keeps what the
// producer sent (compression.type=producer).
type Compression struct {
	Recompress bool
	Codec      record.Codec
	Level      int // 0: the codec's default
}

// AsRetention as a local retention means: the same as without "local" (Kafka's -2).
const AsRetention = -2

// Config holds one topic's effective settings under Kafka's names and with
// Kafka's meanings. Times are in milliseconds; -1 means unlimited where Kafka
// says so. It is a value: a log keeps its own copy.
type Config struct {
	SegmentBytes       int64 // segment.bytes
	SegmentMs          int64 // segment.ms
	SegmentJitterMs    int64 // segment.jitter.ms
	SegmentIndexBytes  int64 // segment.index.bytes
	IndexIntervalBytes int64 // index.interval.bytes

	RetentionMs         int64 // retention.ms
	RetentionBytes      int64 // retention.bytes
	LocalRetentionMs    int64 // local.retention.ms, AsRetention by default
	LocalRetentionBytes int64 // local.retention.bytes, AsRetention by default
	FileDeleteDelayMs   int64 // file.delete.delay.ms

	RemoteStorageEnable bool // remote.storage.enable
	RemoteCopyDisable   bool // remote.log.copy.disable
	CleanupDelete       bool // cleanup.policy has "delete"
	CleanupCompact      bool // cleanup.policy has "compact"

	RemoteCopyLagMs    int64 // remote.copy.lag.ms; -1: as the local retention
	RemoteCopyLagBytes int64 // remote.copy.lag.bytes; -1: as the local retention
	MaxTierLagMs       int64 // varve.tier.max.lag.ms; 0 or less: no bound

	DeleteRetentionMs      int64   // delete.retention.ms
	MinCompactionLagMs     int64   // min.compaction.lag.ms
	MaxCompactionLagMs     int64   // max.compaction.lag.ms
	MinCleanableDirtyRatio float64 // min.cleanable.dirty.ratio

	MaxMessageBytes      int64         // max.message.bytes
	TimestampType        TimestampType // message.timestamp.type
	TimestampBeforeMaxMs int64         // message.timestamp.before.max.ms
	TimestampAfterMaxMs  int64         // message.timestamp.after.max.ms

	Compression Compression // compression.type and compression.*.level

	Preallocate bool // preallocate

	FlushMessages int64 // flush.messages
	FlushMs       int64 // flush.ms
}

// DefaultConfig is Kafka's default for every setting.
func DefaultConfig() Config {
	return Config{
		SegmentBytes:         1 << 30,
		SegmentMs:            7 * 24 * 3600 * 1000,
		SegmentIndexBytes:    10 << 20,
		IndexIntervalBytes:   4096,
		RetentionMs:          7 * 24 * 3600 * 1000,
		RetentionBytes:       -1,
		LocalRetentionMs:     AsRetention,
		LocalRetentionBytes:  AsRetention,
		FileDeleteDelayMs:    60_000,
		CleanupDelete:        true,
		RemoteCopyLagBytes:   -1,
		MaxTierLagMs:         -1,
		MaxMessageBytes:      1048588,
		TimestampBeforeMaxMs: math.MaxInt64,
		TimestampAfterMaxMs:  3600_000,
		FlushMessages:        math.MaxInt64,
		FlushMs:              math.MaxInt64,

		DeleteRetentionMs:      24 * 3600 * 1000,
		MaxCompactionLagMs:     math.MaxInt64,
		MinCleanableDirtyRatio: 0.5,
	}
}

// maxSegmentMs is the age at which a segment is closed: a compacted topic with a
// bound on how long records may wait for compaction closes them by that, as the
// active segment is never compacted.
func (c *Config) maxSegmentMs() int64 {
	if c.CleanupCompact {
		return min(c.SegmentMs, c.MaxCompactionLagMs)
	}
	return c.SegmentMs
}

// deletes says that segments go by age and size. With an empty cleanup.policy
// they stay for ever, except that the local ones of a tiered topic go once the
// object store has them.
func (c *Config) deletes() bool {
	return c.CleanupDelete || (!c.CleanupCompact && c.copiesToRemote())
}

// copiesToRemote says that closed segments go to the object store.
func (c *Config) copiesToRemote() bool { return c.RemoteStorageEnable && !c.RemoteCopyDisable }

// RemoteCopyLag is how old a closed segment's newest record has to be, in ms, and how many bytes of
// the log have to be behind the segment, before it goes to the object store. One of the two is
// enough. 0 is at once, and -1 never by this one: what stays on this disk for ever need not be there.
func (c *Config) RemoteCopyLag() (ms, bytes int64) {
	localMs, localBytes := c.localRetention()
	ms, bytes = c.RemoteCopyLagMs, c.RemoteCopyLagBytes
	if ms < 0 {
		ms = localMs
	}
	if bytes < 0 {
		bytes = localBytes
	}
	return ms, bytes
}

// localRetention is how long and how much stays on this disk; -1 is unlimited.
func (c *Config) localRetention() (ms, bytes int64) {
	ms, bytes = c.RetentionMs, max(c.RetentionBytes, -1)
	if c.copiesToRemote() {
		if c.LocalRetentionMs != AsRetention {
			ms = c.LocalRetentionMs
		}
		if c.LocalRetentionBytes != AsRetention {
			bytes = c.LocalRetentionBytes
		}
	}
	return ms, bytes
}
