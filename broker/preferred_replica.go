package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/replication"
)

// nearerReplicas finds a replica in a consumer's rack (KIP-392, replica.selector.class). The zero
// value finds none.
type nearerReplicas struct {
	image *metadata.Image
	rack  string
}

func (b *Broker) nearerReplicas(req *kmsg.FetchRequest) nearerReplicas {
	if !b.cfg.SelectByRack || req.Version < 11 || req.Rack == "" || isReplica(req) {
		return nearerReplicas{}
	}
	return nearerReplicas{image: b.cluster.Image(), rack: req.Rack}
}

// preferred returns the replica that a consumer should read a partition from. It returns false if
// this broker is already the right replica.
func (n nearerReplicas) preferred(p *replication.Partition, offset int64) (broker int32, ok bool) {
	if n.image == nil {
		return -1, false
	}
	return p.PreferredReplica(offset, func(broker int32) bool {
		b, live := n.image.Brokers[broker]
		return live && b.Rack == n.rack
	})
}
