package storage

import (
	"math"

	"github.com/varvelog/varve/record"
)

// TimestampType is the clock that records' timestamps come from.
type TimestampType int8

// Values of message.timestamp.type: the producer's clock, or the broker's at the append.
const (
	CreateTime TimestampType = iota
	LogAppendTime
)

// Compression is the form in which batches are stored. The zero value keeps the producer's
// (compression.type=producer).
type Compression struct {
	// If Recompress is set, a batch with another codec than Codec is recompressed.
	Recompress bool
	Codec      record.Codec
	Level      int // 0: the codec's default
}

// AsRetention as a local retention means the same value as the setting without "local" (Kafka's
// -2).
const AsRetention = -2

// Config holds one topic's effective settings, with Kafka's names and meanings. Times are in
// milliseconds. -1 means unlimited where Kafka says so. It is a value: each log has its own copy.
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

	RemoteCopyLagMs    int64 // remote.copy.lag.ms; -1: the same as the local retention
	RemoteCopyLagBytes int64 // remote.copy.lag.bytes; -1: the same as the local retention
	MaxTierLagMs       int64 // varve.tier.max.lag.ms; 0 or less: unlimited

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

// DefaultConfig returns Kafka's default for every setting.
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

// maxSegmentMs returns the age, in ms, at which a segment is closed. The active segment is never
// compacted, so a compacted topic closes it within the limit on how long records may wait for that.
func (c *Config) maxSegmentMs() int64 {
	if c.CleanupCompact {
		return min(c.SegmentMs, c.MaxCompactionLagMs)
	}
	return c.SegmentMs
}

// deletes reports whether segments are deleted by age and size. With an empty cleanup.policy they
// are kept forever. The exception are the local segments of a tiered topic, which go once the
// object store has them.
func (c *Config) deletes() bool {
	return c.CleanupDelete || (!c.CleanupCompact && c.copiesToRemote())
}

// copiesToRemote reports whether closed segments are uploaded to the object store.
func (c *Config) copiesToRemote() bool { return c.RemoteStorageEnable && !c.RemoteCopyDisable }

// RemoteCopyLag returns when a closed segment is uploaded: when its newest record is ms old, or
// when the log has so many bytes after it. Either is enough. 0 means at once, -1 means never for
// this reason: a segment that stays on the local disk forever need not be uploaded.
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

// localRetention returns the limits, in ms and bytes, for what stays on this disk; -1 is unlimited.
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
