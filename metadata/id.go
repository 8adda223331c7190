package metadata

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"
)

// TopicID is the identity of a topic for its whole life. A topic that is deleted and created again
// under the same name has another id.
type TopicID [16]byte

// idEncoding is Kafka's text form of a UUID: 22 characters of unpadded base64url.
var idEncoding = base64.RawURLEncoding.Strict()

// NewTopicID draws a random id (a version 4 UUID). As in Kafka it never starts with a dash, which
// command line tools would take for an option.
func NewTopicID() TopicID {
	for {
		var id TopicID
		// crypto/rand.Read never fails: it ends the process instead.
		_, _ = rand.Read(id[:])
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if id.String()[0] != '-' {
			return id
		}
	}
}

// ParseTopicID parses the text form that String returns.
func ParseTopicID(s string) (TopicID, error) {
	var id TopicID
	if len(s) != idEncoding.EncodedLen(len(id)) {
		return TopicID{}, fmt.Errorf("parse topic id %q: want %d characters of base64url", s, idEncoding.EncodedLen(len(id)))
	}
	if _, err := idEncoding.Decode(id[:], []byte(s)); err != nil {
		return TopicID{}, fmt.Errorf("parse topic id %q: %w", s, err)
	}
	if id.String() != s { // the decoder skips line ends
		return TopicID{}, fmt.Errorf("parse topic id %q: it is not base64url", s)
	}
	return id, nil
}

// String returns the id in Kafka's text form.
func (id TopicID) String() string { return idEncoding.EncodeToString(id[:]) }

// IsZero reports whether the id is unset. On the wire, zero means "no topic id".
func (id TopicID) IsZero() bool { return id == TopicID{} }

// MarshalText returns the same text as String.
func (id TopicID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText parses the text of MarshalText.
func (id *TopicID) UnmarshalText(text []byte) error {
	parsed, err := ParseTopicID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// DirectoryID is the identity of a data directory. It is drawn when the directory is first used,
// and stored as directory.id in the directory's meta.properties.
type DirectoryID [16]byte

// String returns the id in Kafka's text form.
func (id DirectoryID) String() string { return idEncoding.EncodeToString(id[:]) }

// IsZero reports whether the directory is unknown.
func (id DirectoryID) IsZero() bool { return id == DirectoryID{} }

// MarshalText returns the same text as String.
func (id DirectoryID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText parses the text of MarshalText.
func (id *DirectoryID) UnmarshalText(text []byte) error {
	parsed, err := ParseTopicID(string(text)) // the same form
	if err != nil {
		return fmt.Errorf("parse directory id: %w", err)
	}
	*id = DirectoryID(parsed)
	return nil
}

// TopicPartition names one partition of a topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String returns "topic-partition", as in Kafka's logs.
func (tp TopicPartition) String() string {
	return tp.Topic + "-" + strconv.Itoa(int(tp.Partition))
}

// Compare orders partitions by topic name, and within a topic by number.
func (tp TopicPartition) Compare(other TopicPartition) int {
	return cmp.Or(cmp.Compare(tp.Topic, other.Topic), cmp.Compare(tp.Partition, other.Partition))
}
