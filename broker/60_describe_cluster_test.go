package broker

import (
	"fmt"
	"slices"
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
		if resp.ErrorCode != 0 || resp.ClusterID != c.loader.Image().ClusterID || resp.ControllerID != 1 || len(resp.Brokers) != 2 || resp.Brokers[1].Host != "broker2" {
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

func TestDescribeClusterListsFencedBrokersOnRequest(t *testing.T) {
	c := newTestCluster(t, 2, nil)
	c.stop(c.register(3))
	for _, include := range []bool{false, true} {
		req := clusterRequest(2)
		req.EndpointType, req.IncludeFencedBrokers = 1, include
		var got []string
		for _, b := range c.call(req).(*kmsg.DescribeClusterResponse).Brokers {
			got = append(got, fmt.Sprintf("%d %s %t", b.NodeID, b.Host, b.IsFenced))
		}
		want := []string{"1 broker1 false", "2 broker2 false", "3 broker3 true"}
		if !include {
			want = want[:2]
		}
		if !slices.Equal(got, want) {
			t.Errorf("fenced ones included: %t: %q", include, got)
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
