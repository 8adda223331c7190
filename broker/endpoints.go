package broker

import (
	"slices"

	"github.com/varvelog/varve/metadata"
)

// rack returns a broker's rack, or nil if it has none.
func rack(b metadata.Broker) *string {
	if b.Rack == "" {
		return nil
	}
	return &b.Rack
}

// controller returns the broker that clients send administrative requests to: the controller, or
// this broker while there is none. Every broker can serve them.
func (b *Broker) controller(image *metadata.Image) int32 {
	if _, alive := image.Brokers[image.ControllerID]; alive {
		return image.ControllerID
	}
	return b.cfg.NodeID
}

// offline returns those of the replicas whose broker is not alive.
func offline(image *metadata.Image, replicas []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(replicas), func(id int32) bool {
		_, alive := image.Brokers[id]
		return alive
	})
}

// alive returns those of the replicas whose broker is alive.
func alive(image *metadata.Image, replicas []int32) []int32 {
	return slices.DeleteFunc(slices.Clone(replicas), func(id int32) bool {
		_, ok := image.Brokers[id]
		return !ok
	})
}

// offsetsTopic holds the committed offsets and the groups.
const offsetsTopic = "__consumer_offsets"

// isInternal reports whether clients should hide a topic from users.
func isInternal(topic string) bool { return topic == offsetsTopic || topic == "__transaction_state" }
