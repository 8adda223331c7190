package broker

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

func TestDescribeClusterInEveryVersion(t *testing.T) {
	c := newTestCluster(t, 2, nil)
	for version := range int16(3) {
		req := clusterRequest(version)
		req.EndpointType, req.IncludeClusterAuthorizedOperations = 1, version > 0
		resp := c.call(req).(*kmsg.DescribeClusterResponse)
		if resp.ErrorCode != 0 || resp.ClusterID != c.follower.Image().ClusterID || resp.ControllerID != 1 || len(resp.Brokers) != 2 || resp.Brokers[1].Host != "broker2" {
			t.Errorf("v%d: %+v", version, resp)
		}
		want := int32(-1 << 31)
		if version > 0 {
			want = 8096
		}
		if resp.ClusterAuthorizedOperations != want {
			t.Errorf("v%d: operations %d", version, resp.ClusterAuthorizedOperations)
		}
	}
}

func TestDescribeClusterOfOtherEndpoints(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	for endpoint, want := range map[int8]protocol.ErrorCode{2: protocol.MismatchedEndpointType, 3: protocol.UnsupportedEndpointType} {
		req := clusterRequest(1)
		req.EndpointType = endpoint
		if resp := c.call(req).(*kmsg.DescribeClusterResponse); resp.ErrorCode != int16(want) || resp.ErrorMessage == nil {
			t.Errorf("%d: %+v", endpoint, resp)
		}
	}
}
