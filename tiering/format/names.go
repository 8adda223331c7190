package format

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/varvelog/varve/metadata"
)

// Kind is the kind of a partition's object.
type Kind int8

// The kinds of objects. The zero value is none.
const (
	KindSegment Kind = iota + 1
	KindPage
	KindManifest
	KindTrash
)

// String returns the kind as it is written in trash entries.
func (k Kind) String() string {
	switch k {
	case KindSegment:
		return "segment"
	case KindPage:
		return "page"
	case KindManifest:
		return "manifest"
	case KindTrash:
		return "trash"
	}
	return "unknown"
}

// Name is the decoded name of an object. Names are relative to the partition's prefix.
type Name struct {
	Kind        Kind
	Level       int   // of a page
	StartOffset int64 // first offset that a segment or page serves
	Sequence    int64 // of a manifest, or of the one from which trash was cut
	LeaderEpoch int32 // of the leader that wrote the object
	Attempt     string
}

const segmentSuffix = ".segment"

// String returns the object's name. Numbers have leading zeros, so that objects are listed
// in offset order.
func (n Name) String() string {
	switch n.Kind {
	case KindSegment:
		return fmt.Sprintf("%020d-%010d-%s%s", n.StartOffset, n.LeaderEpoch, n.Attempt, segmentSuffix)
	case KindPage:
		return fmt.Sprintf("page/%d-%020d-%010d-%s", n.Level, n.StartOffset, n.LeaderEpoch, n.Attempt)
	case KindManifest, KindTrash:
		return fmt.Sprintf("%s/%010d-%020d-%s", n.Kind, n.LeaderEpoch, n.Sequence, n.Attempt)
	}
	return "unknown"
}

// ParseName reads what String wrote. It returns false if s is no name, or the name of a kind that
// this build does not know.
func ParseName(s string) (Name, bool) {
	var n Name
	directory, rest, _ := strings.Cut(s, "/")
	fields := strings.Split(rest, "-")
	switch directory {
	case "manifest", "trash":
		if len(fields) != 3 {
			return Name{}, false
		}
		n.Kind = KindManifest
		if directory == "trash" {
			n.Kind = KindTrash
		}
		n.LeaderEpoch, n.Sequence = int32(unsigned(fields[0], 31)), unsigned(fields[1], 63)
	case "page":
		if len(fields) != 4 {
			return Name{}, false
		}
		n.Kind, n.Level = KindPage, int(unsigned(fields[0], 8))
		n.StartOffset, n.LeaderEpoch = unsigned(fields[1], 63), int32(unsigned(fields[2], 31))
	default:
		body, found := strings.CutSuffix(s, segmentSuffix)
		if fields = strings.Split(body, "-"); !found || len(fields) != 3 {
			return Name{}, false
		}
		n.Kind, n.StartOffset, n.LeaderEpoch = KindSegment, unsigned(fields[0], 63), int32(unsigned(fields[1], 31))
	}
	n.Attempt = fields[len(fields)-1]
	// Only one spelling names an object. A field that is no number was parsed as -1, which String
	// does not format as s.
	return n, isAttempt(n.Attempt) && n.String() == s
}

// isAttempt returns true if s can be an attempt: lower-case letters and digits.
func isAttempt(s string) bool {
	for _, c := range s {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return s != ""
}

// unsigned parses a decimal number, and returns -1 if s is none.
func unsigned(s string, bits int) int64 {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return -1
	}
	return int64(n)
}

// PartitionPrefix returns the prefix of the keys of all objects of a partition. A prefix of "" is
// the whole bucket.
func PartitionPrefix(prefix string, id metadata.TopicID, partition int32) string {
	return below(prefix) + id.String() + "/" + strconv.Itoa(int(partition)) + "/"
}

// BucketKey returns the key of the bucket's description.
func BucketKey(prefix string) string { return below(prefix) + "varve-bucket" }

// TopicKey returns the key of a revision of a topic's description.
func TopicKey(prefix string, id metadata.TopicID, revision int64) string {
	return fmt.Sprintf("%s%020d", TopicPrefix(prefix, id), revision)
}

// TopicPrefix returns the prefix of the keys of all revisions of a topic's description.
func TopicPrefix(prefix string, id metadata.TopicID) string {
	return TopicsPrefix(prefix) + id.String() + "/"
}

// TopicsPrefix returns the prefix of the keys of all topics' descriptions.
func TopicsPrefix(prefix string) string { return below(prefix) + topicsDirectory + "/" }

// OrphanKey returns the key of the note that a topic with objects in the bucket is known to neither
// the metadata nor a pointer.
func OrphanKey(prefix string, id metadata.TopicID) string {
	return below(prefix) + orphansDirectory + "/" + id.String()
}

// ObjectsPrefix returns the prefix of the keys of all objects of a topic's partitions.
func ObjectsPrefix(prefix string, id metadata.TopicID) string {
	return below(prefix) + id.String() + "/"
}

const (
	topicsDirectory  = "topics"
	orphansDirectory = "orphans"
)

// ObjectKey is the decoded key of an object of any kind.
type ObjectKey struct {
	Place    Place
	TopicID  metadata.TopicID // of all but PlaceBucket and PlaceUnknown
	Revision int64            // of PlaceTopic
}

// Place is where in the bucket an object is.
type Place int8

// The places of objects. An object elsewhere is not Varve's, or belongs to a newer version.
const (
	PlaceUnknown   Place = iota
	PlaceBucket          // the bucket's description
	PlaceTopic           // a revision of a topic's description
	PlaceOrphan          // a note of an orphan
	PlacePartition       // below a partition of the topic
)

// ParseKey decodes a key below the prefix.
func ParseKey(prefix, key string) ObjectKey {
	rest, ours := strings.CutPrefix(key, below(prefix))
	if !ours {
		return ObjectKey{}
	}
	if key == BucketKey(prefix) {
		return ObjectKey{Place: PlaceBucket}
	}
	first, rest, _ := strings.Cut(rest, "/")
	switch first {
	case topicsDirectory:
		topic, revision, _ := strings.Cut(rest, "/")
		id, err := metadata.ParseTopicID(topic)
		if n := unsigned(revision, 63); err == nil && n >= 0 && TopicKey(prefix, id, n) == key {
			return ObjectKey{Place: PlaceTopic, TopicID: id, Revision: n}
		}
	case orphansDirectory:
		if id, err := metadata.ParseTopicID(rest); err == nil {
			return ObjectKey{Place: PlaceOrphan, TopicID: id}
		}
	default:
		id, err := metadata.ParseTopicID(first)
		number, name, _ := strings.Cut(rest, "/")
		n := unsigned(number, 31)
		if err == nil && n >= 0 && name != "" && PartitionPrefix(prefix, id, int32(n))+name == key {
			return ObjectKey{Place: PlacePartition, TopicID: id}
		}
	}
	return ObjectKey{}
}

// below returns the beginning of all keys below a prefix: "" or one that ends with a slash.
func below(prefix string) string {
	if prefix = strings.Trim(prefix, "/"); prefix != "" {
		prefix += "/"
	}
	return prefix
}
