package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeCluster tells which brokers are alive and which is the controller. Versions 0-2.
//
//   - v1 (KIP-919): the endpoint type; this is an endpoint of brokers, one of controllers does not exist.
//   - v2 (KIP-1073): fenced brokers on request; a broker here is registered or unknown, so there are none.
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
	for _, id := range image.BrokerIDs() {
		live := image.Brokers[id]
		if at, ok := live.Listener(r.Listener); ok {
			db := kmsg.NewDescribeClusterResponseBroker()
			db.NodeID, db.Host, db.Port, db.Rack = id, at.Host, at.Port, rack(live)
			resp.Brokers = append(resp.Brokers, db)
		}
	}
	return resp
}

const (
	endpointBrokers     = 1
	endpointControllers = 2
)
