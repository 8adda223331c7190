package format

import (
	"encoding/json"
	"fmt"

	"github.com/varvelog/varve/document"
	"github.com/varvelog/varve/metadata"
)

// Limits of the chunk size that a description may announce, in bytes.
const (
	MinChunkBytes = 4 << 10
	MaxChunkBytes = 256 << 20
)

// Description describes what a segment object holds. With it the object can be read, and its
// partition rebuilt, without any manifest. Units are those of Segment.
type Description struct {
	Read  []string `json:"read,omitempty"`
	Write []string `json:"write,omitempty"`

	ClusterID   string           `json:"cluster_id"`
	Topic       string           `json:"topic"`
	TopicID     metadata.TopicID `json:"topic_id"`
	Partition   int32            `json:"partition"`
	LeaderEpoch int32            `json:"leader_epoch"` // of the leader that uploaded it
	BrokerID    int32            `json:"broker_id"`
	CreatedMs   int64            `json:"created_ms"`

	// BaseOffset, StartOffset and EndOffset are those of Segment; the indexes are relative to
	// BaseOffset. LogStart is the partition's log start offset at the time of the upload.
	BaseOffset   int64 `json:"base"`
	StartOffset  int64 `json:"start"`
	EndOffset    int64 `json:"end"`
	LogStart     int64 `json:"log_start"`
	MinTimestamp int64 `json:"min_ts"`
	MaxTimestamp int64 `json:"max_ts"`
	Records      int64 `json:"records"`
	Batches      int64 `json:"batches"`
	Aborted      int64 `json:"aborted,omitempty"`

	LogBytes int64 `json:"log_bytes"`
	// ChunkBytes is the largest size of a chunk, unless its only batch is larger.
	ChunkBytes int32 `json:"chunk_bytes"`

	// Compaction describes the segments that the object replaced; nil: it replaced none.
	Compaction *Compaction `json:"compaction,omitempty"`
	Lineage    []Cut       `json:"lineage,omitempty"`
	// Key names the key with which the stored bytes are encrypted; nil: they are not encrypted.
	Key *Key `json:"key,omitempty"`

	unknown document.Unknown
}

// Compaction is a rewriting of segments, which may have removed records.
type Compaction struct {
	Generation  int32 `json:"generation"` // from 1 on
	StartOffset int64 `json:"start"`      // of the range that was rewritten
	EndOffset   int64 `json:"end"`
}

// Key names an encryption key, wherever keys are kept.
type Key struct {
	ID string `json:"id"`
}

func (d *Description) gates() (read, write []string) { return d.Read, d.Write }

// Encode returns the description's part of a segment object.
func (d *Description) Encode() ([]byte, error) {
	asLater(d)
	if err := writable("description", d); err != nil {
		return nil, err
	}
	b, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("encode description: %w", err)
	}
	return b, d.check()
}

// parseDescription decodes and checks what Encode wrote.
func parseDescription(b []byte) (*Description, error) {
	d := &Description{}
	if err := decode("description", b, d); err != nil {
		return nil, err
	}
	return d, d.check()
}

// check checks what must hold for any description, whichever build wrote it.
func (d *Description) check() error {
	bad := func(what string) error { return fmt.Errorf("%w: description: %s", ErrCorrupt, what) }
	switch {
	case d.ChunkBytes < MinChunkBytes || d.ChunkBytes > MaxChunkBytes:
		return bad("chunk size")
	case d.BaseOffset < 0 || d.StartOffset < d.BaseOffset || d.EndOffset <= d.StartOffset || d.Partition < 0 || d.LeaderEpoch < 0:
		return bad("offsets")
	case d.LogBytes <= 0 || d.LogBytes > maxObjectBytes:
		return bad("length of the log")
	case d.Batches <= 0 || d.Records < 0 || d.Aborted < 0:
		return bad("counts")
	}
	return nil
}
