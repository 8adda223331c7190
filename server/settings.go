package server

import (
	"maps"
	"slices"
	"sync/atomic"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/storage"
)

// settings is the broker's current configuration: the static layer from the start, and the dynamic
// ones from the cluster's image.
type settings struct {
	nodeID int32
	static map[string]string
	layers atomic.Pointer[config.Layers]
	broker atomic.Pointer[config.Values] // of the layers
}

func newSettings(cfg config.Broker) *settings {
	s := &settings{nodeID: cfg.NodeID, static: cfg.Static()}
	s.store(&config.Layers{Static: s.static})
	return s
}

func (s *settings) store(l *config.Layers) {
	v := l.Broker()
	s.layers.Store(l)
	s.broker.Store(&v)
}

// Layers returns the layers of the newest image that was followed.
func (s *settings) Layers() config.Layers { return *s.layers.Load() }

// Broker returns the broker's effective settings of the same layers. A call is cheap: callers that
// need a setting that may change call it each time.
func (s *settings) Broker() config.Values { return *s.broker.Load() }

// as returns the layers under an image, which need not be the newest.
func (s *settings) as(image *metadata.Image) config.Layers {
	return config.Layers{Static: s.static, DynamicDefault: image.DefaultBrokerConfigs(), DynamicBroker: image.BrokerConfigs(s.nodeID)}
}

// topic returns a topic's effective settings under an image.
func (s *settings) topic(image *metadata.Image, name string) config.Values {
	return s.as(image).Topic(image.TopicConfigs(name))
}

// topicOnly returns one of a topic's effective settings, by its name.
func (s *settings) topicOnly(image *metadata.Image, topic, name string) config.Values {
	return s.as(image).TopicOnly(name, image.TopicConfigs(topic))
}

// follow takes the dynamic layers from an image. If they are equal to the current ones, the pointer
// stays the same.
func (s *settings) follow(image *metadata.Image) {
	next := s.as(image)
	if l := s.layers.Load(); maps.Equal(l.DynamicDefault, next.DynamicDefault) && maps.Equal(l.DynamicBroker, next.DynamicBroker) {
		return
	}
	s.store(&next)
}

// logConfig converts a topic's effective settings to those of the local log.
func logConfig(v config.Values) storage.Config {
	policies := v.List("cleanup.policy")
	c := storage.Config{
		SegmentBytes:         v.Int64("segment.bytes"),
		SegmentMs:            v.Int64("segment.ms"),
		SegmentJitterMs:      v.Int64("segment.jitter.ms"),
		SegmentIndexBytes:    v.Int64("segment.index.bytes"),
		IndexIntervalBytes:   v.Int64("index.interval.bytes"),
		RetentionMs:          v.Int64("retention.ms"),
		RetentionBytes:       v.Int64("retention.bytes"),
		LocalRetentionMs:     v.Int64("local.retention.ms"),
		LocalRetentionBytes:  v.Int64("local.retention.bytes"),
		FileDeleteDelayMs:    v.Int64("file.delete.delay.ms"),
		RemoteStorageEnable:  v.Bool("remote.storage.enable"),
		RemoteCopyDisable:    v.Bool("remote.log.copy.disable"),
		RemoteCopyLagMs:      v.Int64("remote.copy.lag.ms"),
		RemoteCopyLagBytes:   v.Int64("remote.copy.lag.bytes"),
		MaxTierLagMs:         v.Int64("varve.tier.max.lag.ms"),
		CleanupDelete:        slices.Contains(policies, "delete"),
		CleanupCompact:       slices.Contains(policies, "compact"),
		DeleteRetentionMs:    v.Int64("delete.retention.ms"),
		MinCompactionLagMs:   v.Int64("min.compaction.lag.ms"),
		MaxCompactionLagMs:   v.Int64("max.compaction.lag.ms"),
		MaxMessageBytes:      v.Int64("max.message.bytes"),
		TimestampBeforeMaxMs: v.Int64("message.timestamp.before.max.ms"),
		TimestampAfterMaxMs:  v.Int64("message.timestamp.after.max.ms"),
		FlushMessages:        v.Int64("flush.messages"),
		FlushMs:              v.Int64("flush.ms"),
		Compression:          compression(v),
		Preallocate:          v.Bool("preallocate"),

		MinCleanableDirtyRatio: v.Float64("min.cleanable.dirty.ratio"),
	}
	if v.String("message.timestamp.type") == "LogAppendTime" {
		c.TimestampType = storage.LogAppendTime
	}
	return c
}

// compression returns how the topic's batches are stored.
func compression(v config.Values) storage.Compression {
	switch v.String("compression.type") {
	case "uncompressed":
		return storage.Compression{Recompress: true, Codec: record.CodecNone}
	case "gzip":
		return storage.Compression{Recompress: true, Codec: record.CodecGzip, Level: int(v.Int64("compression.gzip.level"))}
	case "snappy":
		return storage.Compression{Recompress: true, Codec: record.CodecSnappy}
	case "lz4":
		return storage.Compression{Recompress: true, Codec: record.CodecLZ4, Level: int(v.Int64("compression.lz4.level"))}
	case "zstd":
		return storage.Compression{Recompress: true, Codec: record.CodecZstd, Level: int(v.Int64("compression.zstd.level"))}
	default: // producer
		return storage.Compression{}
	}
}

// cleanerConfig converts the broker's effective settings to those of compaction.
func cleanerConfig(v config.Values) storage.CleanerConfig {
	return storage.CleanerConfig{
		Enable:            v.Bool("log.cleaner.enable"),
		Threads:           int(v.Int64("log.cleaner.threads")),
		DedupeBufferBytes: v.Int64("log.cleaner.dedupe.buffer.size"),
		IOBufferBytes:     v.Int64("log.cleaner.io.buffer.size"),
		LoadFactor:        v.Float64("log.cleaner.io.buffer.load.factor"),
		MaxBytesPerSecond: v.Float64("log.cleaner.io.max.bytes.per.second"),
		Backoff:           v.Duration("log.cleaner.backoff.ms"),
	}
}
