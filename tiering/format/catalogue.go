package format

import (
	"fmt"

	"github.com/varvelog/varve/document"
	"github.com/varvelog/varve/metadata"
)

// Bucket describes a bucket, or the part of a bucket below a prefix: the object varve-bucket.
type Bucket struct {
	Read  []string `json:"read,omitempty"`
	Write []string `json:"write,omitempty"`

	// ID is random, and also noted in the metadata store: it distinguishes this bucket from another
	// one of the same name.
	ID        string `json:"id"`
	ClusterID string `json:"cluster_id"`
	CreatedMs int64  `json:"created_ms"`

	unknown document.Unknown
}

func (b *Bucket) gates() (read, write []string) { return b.Read, b.Write }

// Encode returns the content of the bucket's object.
func (b *Bucket) Encode() ([]byte, error) { return seal(DocumentBucket, b) }

// Writable returns an ErrReadOnly if this build must not write to the bucket, otherwise nil.
func (b *Bucket) Writable() error { return writable(string(DocumentBucket), b) }

// ParseBucket decodes and checks what Encode wrote.
func ParseBucket(content []byte) (*Bucket, error) {
	b := &Bucket{}
	if err := open(DocumentBucket, content, b); err != nil {
		return nil, err
	}
	if b.ID == "" || b.ClusterID == "" {
		return nil, fmt.Errorf("%w: bucket %q of cluster %q", ErrCorrupt, b.ID, b.ClusterID)
	}
	return b, nil
}

// Orphan notes that a sweep of the bucket has found objects of a topic that neither the
// metadata nor a tier pointer knows. The grace period begins with the time of the note's object
// in the bucket.
type Orphan struct {
	Read  []string `json:"read,omitempty"`
	Write []string `json:"write,omitempty"`

	ClusterID string           `json:"cluster_id"` // of the cluster that swept
	TopicID   metadata.TopicID `json:"topic_id"`
	Objects   int64            `json:"objects"` // as found, like Bytes
	Bytes     int64            `json:"bytes"`
	SeenMs    int64            `json:"seen_ms"` // by the broker's clock

	unknown document.Unknown
}

func (o *Orphan) gates() (read, write []string) { return o.Read, o.Write }

// Encode returns the content of the orphan's object.
func (o *Orphan) Encode() ([]byte, error) { return seal(DocumentOrphan, o) }

// ParseOrphan decodes and checks what Encode wrote.
func ParseOrphan(content []byte) (*Orphan, error) {
	o := &Orphan{}
	if err := open(DocumentOrphan, content, o); err != nil {
		return nil, err
	}
	if o.TopicID.IsZero() || o.Objects < 0 || o.Bytes < 0 {
		return nil, fmt.Errorf("%w: orphan %s with %d objects of %d bytes", ErrCorrupt, o.TopicID, o.Objects, o.Bytes)
	}
	return o, nil
}

// Topic is a revision of a topic's description. With it and the objects of the partitions, the
// topic can be created again in a cluster that does not know it.
type Topic struct {
	Read  []string `json:"read,omitempty"`
	Write []string `json:"write,omitempty"`

	ClusterID string           `json:"cluster_id"`
	TopicID   metadata.TopicID `json:"topic_id"`
	// Revision is that of the metadata in which the topic is as described. The largest one counts.
	Revision          int64             `json:"revision"`
	Name              string            `json:"name"`
	Partitions        int32             `json:"partitions"`
	ReplicationFactor int16             `json:"replication_factor"`
	Configs           map[string]string `json:"configs,omitempty"` // those set for the topic
	CreatedMs         int64             `json:"created_ms"`
	DeletedMs         int64             `json:"deleted_ms,omitempty"` // 0: the topic is not deleted

	unknown document.Unknown
}

func (t *Topic) gates() (read, write []string) { return t.Read, t.Write }

// Encode returns the content of the topic's object.
func (t *Topic) Encode() ([]byte, error) { return seal(DocumentTopic, t) }

// Writable returns an ErrReadOnly if this build must not rewrite the topic, otherwise nil.
func (t *Topic) Writable() error { return writable(string(DocumentTopic), t) }

// ParseTopic decodes and checks what Encode wrote.
func ParseTopic(content []byte) (*Topic, error) {
	t := &Topic{}
	if err := open(DocumentTopic, content, t); err != nil {
		return nil, err
	}
	if t.Name == "" || t.TopicID.IsZero() || t.Partitions <= 0 || t.Revision < 0 {
		return nil, fmt.Errorf("%w: topic %q %s with %d partitions, revision %d", ErrCorrupt, t.Name, t.TopicID, t.Partitions, t.Revision)
	}
	return t, nil
}
