package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// UnregisterBroker removes the registration of a broker that is gone for good. Version 0 (KIP-500).
// Any broker serves it.
//
//   - The broker gets no new replicas then and keeps those that it has: move them with
//     AlterPartitionReassignments. BROKER_ID_NOT_REGISTERED if it never was a broker of this
//     cluster, or has been unregistered.
//   - A running broker gets INVALID_REQUEST, since it would register again at once. Kafka
//     unregisters it until it restarts.
//
// Not implemented: authorization.
func (b *Broker) unregisterBroker(ctx context.Context, _ *Request, req *kmsg.UnregisterBrokerRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.UnregisterBrokerResponse)
	resp.ErrorCode, resp.ErrorMessage = b.codeAndMessage(ctx, b.admin.UnregisterBroker(ctx, req.BrokerID))
	return resp
}
