package notify

import (
	"encoding/json"
	"fmt"
)

// Hint is one of the payloads below.
type Hint interface {
	SegmentTiered | BrokerSuspect
}

// SegmentTiered says that a partition's history in the object store now ends at EndOffset
// (exclusive).
type SegmentTiered struct {
	TopicID   string `json:"topic_id"`
	Partition int32  `json:"partition"`
	EndOffset int64  `json:"end_offset"`
}

// BrokerSuspect says that one broker could not reach another. It asks the controller to check.
type BrokerSuspect struct {
	BrokerID    int32  `json:"broker_id"`
	BrokerEpoch int64  `json:"broker_epoch"`
	ReporterID  int32  `json:"reporter_id"`
	Reason      string `json:"reason"`
}

// hintVersion is the version of all payloads.
const hintVersion = 1

// maxHint bounds the bytes of a payload, sent or received.
const maxHint = 4096

// envelope is the payload on the wire: a version, and the hint as a field of its own.
type envelope[H Hint] struct {
	V    int `json:"v"`
	Hint H   `json:"hint"`
}

// kind is the last part of the subject.
func kind[H Hint](hint H) string {
	switch any(hint).(type) {
	case SegmentTiered:
		return "segment-tiered"
	default:
		return "broker-suspect"
	}
}

func encode[H Hint](hint H) ([]byte, error) {
	payload, err := json.Marshal(envelope[H]{V: hintVersion, Hint: hint})
	if err == nil && len(payload) > maxHint {
		err = fmt.Errorf("encode a %s hint: %d bytes are too many", kind(hint), len(payload))
	}
	return payload, err
}

func decode[H Hint](payload []byte) (H, error) {
	var e envelope[H]
	if len(payload) > maxHint {
		return e.Hint, fmt.Errorf("decode a %s hint: %d bytes are too many", kind(e.Hint), len(payload))
	}
	if err := json.Unmarshal(payload, &e); err != nil {
		return e.Hint, fmt.Errorf("decode a %s hint: %w", kind(e.Hint), err)
	}
	if e.V < 1 || e.V > hintVersion {
		return e.Hint, fmt.Errorf("decode a %s hint: version %d is not known", kind(e.Hint), e.V)
	}
	return e.Hint, nil
}
