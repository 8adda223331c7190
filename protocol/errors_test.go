package protocol

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// kerr is an independent list of the same errors. It differs from Kafka 4.3 only in the entries
// named here.
func TestErrorTableAgreesWithClients(t *testing.T) {
	renamed := map[ErrorCode]bool{NotLeaderOrFollower: true}
	retriability := map[ErrorCode]bool{BrokerNotAvailable: true, ShareSessionNotFound: true, InvalidShareSessionEpoch: true}
	for i := range errorTable {
		code := ErrorCode(i - 1)
		if code.Name() == "" {
			t.Errorf("code %d has no name", code)
		}
		if code == None {
			continue
		}
		if code.Message() == "" {
			t.Errorf("%s has no message", code)
		}
		other := kerr.TypedErrorForCode(int16(code))
		if other.Code != int16(code) {
			t.Errorf("%s is unknown to kerr", code)
			continue
		}
		if other.Message != code.Name() && !renamed[code] {
			t.Errorf("code %d is %s, kerr has %s", code, code, other.Message)
		}
		if other.Retriable != code.Retriable() && !retriability[code] {
			t.Errorf("%s: retriable is %v", code, code.Retriable())
		}
	}
}

func TestUnknownErrorCodesHaveANumber(t *testing.T) {
	for code, want := range map[ErrorCode]string{-2: "ERROR_-2", 999: "ERROR_999", 134: "ERROR_134", -1: "UNKNOWN_SERVER_ERROR", 0: "NONE", 133: "SHARE_SESSION_LIMIT_REACHED"} {
		if got := code.String(); got != want {
			t.Errorf("%d: %s, want %s", int16(code), got, want)
		}
	}
	if ErrorCode(999).Retriable() || ErrorCode(999).Message() != "" {
		t.Error("an unknown code is retriable or has a message")
	}
}
