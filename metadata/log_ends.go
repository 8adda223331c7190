package metadata

import (
	"context"
	"sync"
	"time"

	"github.com/varvelog/varve/stepped"
)

// AskLogEnds asks a broker for the log ends of partitions that it leads or follows. The answer
// omits partitions that the broker does not have or whose logs are offline. A nil AskLogEnds
// answers for every broker, and all its logs are equal.
type AskLogEnds func(
	ctx context.Context, broker Broker, tps []TopicPartition,
) (map[TopicPartition]LogEnd, error)

// Ask is a partition that needs an unclean election. The replica with the longest log will lead it,
// so the election waits for the log ends: see ElectionRules.
type Ask struct {
	TopicPartition
	Replicas []Member // the live ones, which can be asked
}

// askTimeout bounds how long an unclean election waits for answers. A replica that has not answered
// by then is not elected.
const askTimeout = 2 * time.Second

// All asks all brokers at once, each for all its partitions, and returns the answers that arrive
// within askTimeout. There is an entry for every ask, which may be empty.
func (ask AskLogEnds) All(ctx context.Context, image *Image, asks []Ask) map[TopicPartition]LogEnds {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	all := make(map[TopicPartition]LogEnds, len(asks))
	var members []Member
	byBroker := map[Member][]TopicPartition{}
	for _, a := range asks {
		all[a.TopicPartition] = LogEnds{}
		for _, m := range a.Replicas {
			if byBroker[m] == nil {
				members = append(members, m)
			}
			byBroker[m] = append(byBroker[m], a.TopicPartition)
		}
	}
	var mu sync.Mutex
	stepped.InParallel(ctx, len(members), -1, func(ctx context.Context, i int) {
		m := members[i]
		ends := ask.of(ctx, image.Brokers[m.Broker], byBroker[m])
		mu.Lock()
		defer mu.Unlock()
		for tp, end := range ends { // any order
			if of, wanted := all[tp]; wanted {
				of[m] = end
			}
		}
	})
	return all
}

// of returns one broker's answer, nil after an error.
func (ask AskLogEnds) of(
	ctx context.Context, broker Broker, tps []TopicPartition,
) map[TopicPartition]LogEnd {
	if ask == nil {
		equal := make(map[TopicPartition]LogEnd, len(tps))
		for _, tp := range tps {
			equal[tp] = LogEnd{LeaderEpoch: -1}
		}
		return equal
	}
	ends, err := ask(ctx, broker, tps)
	if err != nil {
		return nil
	}
	return ends
}
