package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// UnregisterBroker forgets a broker that is gone for good. Version 0 (KIP-500). Any broker serves it.
//
//   - A dead broker has no registration here, so this changes nothing; it tells whether the broker is still a replica of anything
//     (else BROKER_ID_NOT_REGISTERED). Give its partitions other replicas by AlterPartitionReassignments.
//   - A broker that is running is INVALID_REQUEST: it would register again at once. Kafka unregisters it until it restarts.
//
// Not implemented: authorization.
func (b *Broker) unregisterBroker(ctx context.Context, _ *Request, req *kmsg.UnregisterBrokerRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.UnregisterBrokerResponse)
	resp.ErrorCode, resp.ErrorMessage = b.codeAndMessage(ctx, b.admin.UnregisterBroker(req.BrokerID))
	return resp
}
