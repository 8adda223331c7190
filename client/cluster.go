package client

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Cluster is the cluster's id, its controller and its brokers.
type Cluster struct {
	ID         string
	Controller int32    // -1: there is none
	Brokers    []Broker // sorted by id
}

// Broker is one broker as the cluster describes it. A broker that is down is fenced until it is
// unregistered.
type Broker struct {
	ID      int32
	Address string // HOST:PORT
	Rack    string // "": none
	Fenced  bool
}

// Cluster returns the brokers and the controller.
func (c *Client) Cluster(ctx context.Context) (Cluster, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	request := kmsg.NewPtrDescribeClusterRequest()
	request.IncludeFencedBrokers = true
	response, err := request.RequestWith(ctx, c.kafka)
	if err != nil {
		return Cluster{}, c.Explain(err)
	}
	if err = kerr.ErrorForCode(response.ErrorCode); err != nil {
		return Cluster{}, c.about("describe the cluster", text(response.ErrorMessage), err)
	}
	cluster := Cluster{ID: response.ClusterID, Controller: response.ControllerID}
	for _, b := range response.Brokers {
		cluster.Brokers = append(cluster.Brokers, Broker{
			ID: b.NodeID, Address: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), Rack: text(b.Rack), Fenced: b.IsFenced,
		})
	}
	slices.SortFunc(cluster.Brokers, func(a, b Broker) int { return cmp.Compare(a.ID, b.ID) })
	return cluster, nil
}

// UnregisterBroker removes the registration of a broker that is down.
func (c *Client) UnregisterBroker(ctx context.Context, id int32) error {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	request := kmsg.NewPtrUnregisterBrokerRequest()
	request.BrokerID = id
	response, err := request.RequestWith(ctx, c.kafka)
	if err != nil {
		return c.Explain(err)
	}
	if err = kerr.ErrorForCode(response.ErrorCode); err != nil {
		return c.about("unregister broker "+strconv.Itoa(int(id)), text(response.ErrorMessage), err)
	}
	return nil
}

// text returns a nullable string of the protocol, "" for null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
