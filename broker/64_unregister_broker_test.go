package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

func TestUnregisterBroker(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	c.stop(c.register(2))
	for id, want := range map[int32]protocol.ErrorCode{1: protocol.InvalidRequest, 2: protocol.None, 3: protocol.BrokerIDNotRegistered} {
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = id
		resp := c.call(req).(*kmsg.UnregisterBrokerResponse)
		if resp.ErrorCode != int16(want) || (resp.ErrorMessage == nil) != (want == protocol.None) {
			t.Errorf("broker %d: %+v", id, resp)
		}
	}
}
