package tiering

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/varvelog/varve/metadata"
)

// objectKind tells what an object of a partition is.
type objectKind int8

const (
	kindSegment objectKind = iota + 1
	kindPage
	kindManifest
)

// objectName is what the name of an object tells about it. Names are relative
// to the partition's prefix, see partitionPrefix.
type objectName struct {
	kind     objectKind
	level    int   // of a page
	start    int64 // first offset that a segment or page serves
	sequence int64 // of a manifest
	epoch    int32 // of the leader that wrote the object
	attempt  string
}

const segmentSuffix = ".segment"

// String is the object's name. Numbers have leading zeros, so that objects list
// in order of their offsets.
func (n objectName) String() string {
	switch n.kind {
	case kindSegment:
		return fmt.Sprintf("%020d-%010d-%s%s", n.start, n.epoch, n.attempt, segmentSuffix)
	case kindPage:
		return fmt.Sprintf("page/%d-%020d-%010d-%s", n.level, n.start, n.epoch, n.attempt)
	case kindManifest:
		return fmt.Sprintf("manifest/%010d-%020d", n.epoch, n.sequence)
	}
	return "invalid"
}

// parseName reads what String wrote; anything else is not ours.
func parseName(s string) (objectName, bool) {
	var n objectName
	var fields []string
	switch {
	case strings.HasPrefix(s, "manifest/"):
		n.kind = kindManifest
		fields = strings.Split(strings.TrimPrefix(s, "manifest/"), "-")
		if len(fields) != 2 {
			return objectName{}, false
		}
		n.epoch, n.sequence = int32(number(fields[0], 31)), number(fields[1], 63)
	case strings.HasPrefix(s, "page/"):
		n.kind = kindPage
		fields = strings.Split(strings.TrimPrefix(s, "page/"), "-")
		if len(fields) != 4 {
			return objectName{}, false
		}
		n.level, n.start, n.epoch = int(number(fields[0], 8)), number(fields[1], 63), int32(number(fields[2], 31))
		n.attempt = fields[3]
	default:
		n.kind = kindSegment
		body, found := strings.CutSuffix(s, segmentSuffix)
		fields = strings.Split(body, "-")
		if !found || len(fields) != 3 {
			return objectName{}, false
		}
		n.start, n.epoch, n.attempt = number(fields[0], 63), int32(number(fields[1], 31)), fields[2]
	}
	// Only one spelling means an object, and a field that was no number is no
	// longer what it was.
	return n, n.String() == s
}

// number reads an unsigned decimal, or is -1.
func number(s string, bits int) int64 {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return -1
	}
	return int64(n)
}

// newAttempt makes the part of a name that no other attempt has, of whichever
// leader, so that nobody can ever overwrite an object.
func newAttempt() string {
	var b [8]byte
	// crypto/rand.Read never fails: it ends the process instead.
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// partitionPrefix is what the keys of all objects of a partition begin with.
func partitionPrefix(prefix string, id metadata.TopicID, partition int32) string {
	return topicPrefix(prefix, id) + strconv.Itoa(int(partition)) + "/"
}

func topicPrefix(prefix string, id metadata.TopicID) string {
	if prefix != "" {
		prefix = strings.Trim(prefix, "/") + "/"
	}
	return prefix + id.String() + "/"
}
