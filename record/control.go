package record

import (
	"encoding/binary"
	"fmt"
)

// ControlType is the meaning of a control record.
type ControlType int16

// The control records that end a transaction.
const (
	ControlAbort  ControlType = 0
	ControlCommit ControlType = 1
)

// String is the type as kafka-dump-log prints it.
func (t ControlType) String() string {
	switch t {
	case ControlAbort:
		return "ABORT"
	case ControlCommit:
		return "COMMIT"
	default:
		return fmt.Sprintf("UNKNOWN(%d)", int16(t))
	}
}

// ParseControlKey reads the type from a control record's key: version int16, type int16. A type
// without a name here is not an error: readers skip such records.
func ParseControlKey(key []byte) (ControlType, error) {
	if len(key) < 4 {
		return 0, fmt.Errorf("%w: control key of %d bytes, want 4", ErrCorrupt, len(key))
	}
	if version := int16(binary.BigEndian.Uint16(key)); version < 0 {
		return 0, fmt.Errorf("%w: control key version %d", ErrCorrupt, version)
	}
	return ControlType(binary.BigEndian.Uint16(key[2:])), nil
}

// ParseEndTxnMarker reads the transaction coordinator's epoch from the value of a commit or abort
// marker: version int16, coordinator epoch int32.
func ParseEndTxnMarker(value []byte) (coordinatorEpoch int32, err error) {
	if len(value) < 6 {
		return 0, fmt.Errorf("%w: end transaction marker of %d bytes, want 6", ErrCorrupt, len(value))
	}
	if version := int16(binary.BigEndian.Uint16(value)); version < 0 {
		return 0, fmt.Errorf("%w: end transaction marker version %d", ErrCorrupt, version)
	}
	return int32(binary.BigEndian.Uint32(value[2:])), nil
}
