package record

import (
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestControlRecordsAreWhatKmsgWrites(t *testing.T) {
	for kind, name := range map[int8]string{0: "ABORT", 1: "COMMIT", 3: "UNKNOWN(3)"} {
		key := kmsg.NewControlRecordKey()
		key.Type = kmsg.ControlRecordKeyType(kind)
		got, err := ParseControlKey(key.AppendTo(nil))
		if err != nil || got.String() != name {
			t.Errorf("type %d: %v, %v", kind, got, err)
		}
	}
	marker := kmsg.NewEndTxnMarker()
	marker.CoordinatorEpoch = 77
	if got, err := ParseEndTxnMarker(marker.AppendTo(nil)); err != nil || got != 77 {
		t.Errorf("epoch %d, %v", got, err)
	}
}

func TestMalformedControlRecords(t *testing.T) {
	for _, bad := range []string{"", "\x00\x00\x00", "\xff\xff\x00\x01\x00\x00"} {
		if _, err := ParseControlKey([]byte(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("key %q: %v", bad, err)
		}
		if _, err := ParseEndTxnMarker([]byte(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("marker %q: %v", bad, err)
		}
	}
}
