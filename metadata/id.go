package metadata

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strconv"
)

// TopicID is the identity of a topic for its whole life: a topic that is
// deleted and created again under the same name has another id.
type TopicID [16]byte

// idEncoding is how Kafka prints a UUID: 22 characters of unpadded base64url.
var idEncoding = base64.RawURLEncoding.Strict()

// NewTopicID draws a random id (a version 4 UUID). As in Kafka it never starts
// with a dash, which command line tools would take for an option.
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

// ParseTopicID reads what String wrote.
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

// String prints the id as Kafka does.
func (id TopicID) String() string { return idEncoding.EncodeToString(id[:]) }

// IsZero reports whether the id is unset; on the wire that means "no topic id".
func (id TopicID) IsZero() bool { return id == TopicID{} }

// MarshalText writes the id as String does.
func (id TopicID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *TopicID) UnmarshalText(text []byte) error {
	parsed, err := ParseTopicID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// DirectoryID is the identity of a data directory, drawn when it is first used: its
// meta.properties have it as directory.id.
type DirectoryID [16]byte

// String prints the id as Kafka does.
func (id DirectoryID) String() string { return idEncoding.EncodeToString(id[:]) }

// IsZero reports whether the directory is unknown.
func (id DirectoryID) IsZero() bool { return id == DirectoryID{} }

// MarshalText writes the id as String does.
func (id DirectoryID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
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

// String prints topic-partition as Kafka's logs do.
func (tp TopicPartition) String() string {
	return tp.Topic + "-" + strconv.Itoa(int(tp.Partition))
}

// Compare orders partitions by topic name, and within a topic by number.
func (tp TopicPartition) Compare(other TopicPartition) int {
	return cmp.Or(cmp.Compare(tp.Topic, other.Topic), cmp.Compare(tp.Partition, other.Partition))
}
