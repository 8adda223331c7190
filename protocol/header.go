package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// ErrMalformed reports bytes that are not what they claim to be: a header or body that ends early,
// runs on, or announces more than it can hold.
var ErrMalformed = errors.New("malformed request")

// maxTags bounds the tagged fields of one section. No Kafka API has more than a handful. A walk
// over an announced four billion would only keep a processor busy.
const maxTags = 1 << 10

// RequestHeader is the header of every request.
type RequestHeader struct {
	Key           int16
	Version       int16
	CorrelationID int32
	ClientID      string // empty for a null client id: no behavior depends on the difference
}

// ParseRequestHeader splits a frame (without its length) into header and body. The body aliases
// frame; the client id is a copy. On an error, the fields read before it are set. The broker thus
// can answer an ApiVersions request of an unknown version, whose header may have any form after its
// first eight bytes.
func ParseRequestHeader(frame []byte) (RequestHeader, []byte, error) {
	var h RequestHeader
	if len(frame) < 8 {
		return h, nil, fmt.Errorf("parse header of %d bytes: %w", len(frame), ErrMalformed)
	}
	h.Key = int16(binary.BigEndian.Uint16(frame))
	h.Version = int16(binary.BigEndian.Uint16(frame[2:]))
	h.CorrelationID = int32(binary.BigEndian.Uint32(frame[4:]))
	c := cursor{src: frame[8:]}
	version := requestHeaderVersion(h.Key, h.Version)
	if version >= 1 {
		h.ClientID = string(c.nullableString())
	}
	if version >= 2 {
		c.skipTags()
	}
	if c.err != nil {
		return h, nil, fmt.Errorf("parse header of %s v%d: %w", APIName(h.Key), h.Version, c.err)
	}
	return h, c.src, nil
}

// AppendResponseHeader appends a response's header: the correlation id and, if flexible is set, an
// empty section of tagged fields (never for ApiVersions).
func AppendResponseHeader(dst []byte, key int16, correlationID int32, flexible bool) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(correlationID))
	if flexible && key != apiVersionsKey {
		dst = append(dst, 0)
	}
	return dst
}

// APIName is Kafka's name of an API, or "Unknown".
func APIName(key int16) string {
	if key == alterPartitionReassignmentsKey { // kmsg has another name for it
		return "AlterPartitionReassignments"
	}
	return kmsg.NameForKey(key)
}

const (
	controlledShutdownKey = 7
	apiVersionsKey        = 18

	alterPartitionReassignmentsKey = 45
)

// requestHeaderVersion is 2 for a flexible version of an API, 0 for the first version of
// ControlledShutdown (which has no client id), and 1 otherwise. Unknown keys are assumed to have
// version 1, which every client can be expected to send.
func requestHeaderVersion(key, version int16) int {
	if key == controlledShutdownKey && version == 0 {
		return 0
	}
	if s, ok := shapes[key]; ok { // without building a request
		if version >= s.flexible {
			return 2
		}
		return 1
	}
	req := kmsg.RequestForKey(key)
	if req == nil {
		return 1
	}
	req.SetVersion(version)
	if req.IsFlexible() {
		return 2
	}
	return 1
}
