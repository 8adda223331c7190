package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeCluster lists the brokers and names the controller. Versions 0-2.
//
//   - v1 (KIP-919): the endpoint type. This is an endpoint of brokers; there are none of
//     controllers.
//   - v2 (KIP-1073): fenced brokers on request: those that are dead and have not been unregistered.
//     A seed that has never started has no address and is not listed.
//
// Not implemented: authorization.
func (b *Broker) describeCluster(ctx context.Context, r *Request, req *kmsg.DescribeClusterRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.DescribeClusterResponse)
	resp.EndpointType = endpointBrokers
	resp.ClusterAuthorizedOperations = operations(req.IncludeClusterAuthorizedOperations, clusterOperations)
	if req.Version >= 1 && req.EndpointType != endpointBrokers {
		err := fmt.Errorf("endpoint type %d: %w", req.EndpointType, errUnsupportedEndpoint)
		if req.EndpointType == endpointControllers {
			err = fmt.Errorf("the request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER: %w", errMismatchedEndpoint)
		}
		resp.ErrorCode, resp.ErrorMessage = b.codeAndMessage(ctx, err)
		return resp
	}
	image := b.cluster.Image()
	resp.ClusterID = image.ClusterID
	resp.ControllerID = b.controller(image)
	for _, id := range slices.Sorted(maps.Keys(image.Known)) {
		broker, fenced := image.Brokers[id], image.IsFenced(id)
		if fenced {
			broker = image.Known[id]
		}
		if at, ok := broker.Listener(r.Listener); ok && (!fenced || req.IncludeFencedBrokers) {
			db := kmsg.NewDescribeClusterResponseBroker()
			db.NodeID, db.Host, db.Port, db.Rack, db.IsFenced = id, at.Host, at.Port, rack(broker), fenced
			resp.Brokers = append(resp.Brokers, db)
		}
	}
	return resp
}

const (
	endpointBrokers     = 1
	endpointControllers = 2
)
