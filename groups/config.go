package groups

import (
	"math"
	"time"
)

// Config holds the settings of the coordinator; the names in the comments are
// those of Kafka's broker configuration.
type Config struct {
	// Partitions is how many partitions __consumer_offsets has: what the topic
	// has if it exists, otherwise offsets.topic.num.partitions.
	Partitions int32
	// MinSessionTimeout is group.min.session.timeout.ms.
	MinSessionTimeout time.Duration
	// MaxSessionTimeout is group.max.session.timeout.ms.
	MaxSessionTimeout time.Duration
	// InitialRebalanceDelay is group.initial.rebalance.delay.ms: how long the
	// first members of an empty group wait for others.
	InitialRebalanceDelay time.Duration
	// MaxSize is group.max.size, the bound on members of one group.
	MaxSize int
	// NewMemberJoinTimeout is how long a new member may wait for its first
	// rebalance. Kafka has no setting for it: five minutes.
	NewMemberJoinTimeout time.Duration
	// MaxMetadataSize is offset.metadata.max.bytes, the bound on the text that
	// goes with a committed offset, in UTF-16 units as Kafka counts.
	MaxMetadataSize int
	// OffsetsRetention is offsets.retention.minutes.
	OffsetsRetention time.Duration
	// RetentionCheckInterval is offsets.retention.check.interval.ms.
	RetentionCheckInterval time.Duration
}

// DefaultConfig returns Kafka's defaults.
func DefaultConfig() Config {
	return Config{
		Partitions:             50,
		MinSessionTimeout:      6 * time.Second,
		MaxSessionTimeout:      30 * time.Minute,
		InitialRebalanceDelay:  3 * time.Second,
		MaxSize:                math.MaxInt32,
		NewMemberJoinTimeout:   5 * time.Minute,
		MaxMetadataSize:        4096,
		OffsetsRetention:       7 * 24 * time.Hour,
		RetentionCheckInterval: 10 * time.Minute,
	}
}
