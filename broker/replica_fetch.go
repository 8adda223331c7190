package broker

import (
	"context"
	"log/slog"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// isReplica reports whether a fetch claims to be a follower's. Consumers send negative ids.
func isReplica(req *kmsg.FetchRequest) bool {
	if req.Version >= 15 {
		return req.ReplicaState.ID >= 0
	}
	return req.ReplicaID >= 0
}

// admitReplica returns the follower that sent a fetch, nil for a consumer, or the code of a
// refusal. A follower's fetches move the high watermark and change the ISR. So they count only from
// a registered broker, on the brokers' listener, with the broker epoch of its registration
// (KIP-903). If the image does not have that registration yet, admitReplica waits for it up to the
// fetch's max wait.
func (b *Broker) admitReplica(ctx context.Context, r *Request, req *kmsg.FetchRequest) (*metadata.Member, protocol.ErrorCode) {
	switch {
	case !isReplica(req):
		r.setFollower(nil)
		return nil, protocol.None
	case r.Listener != b.cfg.InterBrokerListener:
		b.log.LogAttrs(ctx, slog.LevelWarn, "a replica's fetch is refused: it came to a listener that brokers do not use",
			slog.String("listener", r.Listener), slog.String("client", r.Host))
		return nil, protocol.ClusterAuthorizationFailed
	case req.Version < 15: // no broker epoch
		return nil, protocol.StaleBrokerEpoch
	}
	m := metadata.Member{Broker: req.ReplicaState.ID, Epoch: req.ReplicaState.Epoch}
	wait, cancel := context.WithTimeout(ctx, time.Duration(max(req.MaxWaitMillis, 0))*time.Millisecond)
	defer cancel()
	image := b.cluster.Image()
	if epochOf(image, m.Broker) < m.Epoch {
		var err error
		image, err = b.cluster.Wait(wait, func(image *metadata.Image) bool { return epochOf(image, m.Broker) >= m.Epoch })
		if err != nil {
			return nil, protocol.StaleBrokerEpoch
		}
	}
	if m.Epoch <= 0 || epochOf(image, m.Broker) != m.Epoch {
		return nil, protocol.StaleBrokerEpoch // fenced, or its process has a successor
	}
	r.setFollower(&m)
	return &m, protocol.None
}

// epochOf returns the epoch of a broker's registration, 0 if it has none.
func epochOf(image *metadata.Image, id int32) int64 { return image.Brokers[id].Epoch }
