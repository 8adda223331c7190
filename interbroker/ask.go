package interbroker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
)

// ask sends one request to a broker over a connection of its own and returns the response.
// what is asked for stands in the error of an answer that cannot be read.
func (d Dialer) ask(ctx context.Context, broker metadata.Broker, req kmsg.Request, what string) (kmsg.Response, error) {
	c := &Conn{dialer: d, broker: broker, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID))}
	defer c.Close()
	body, err := c.exchange(ctx, req, nil)
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	if err = resp.ReadFrom(body); err != nil {
		return nil, fmt.Errorf("%s broker %d: read the answer: %w", what, broker.ID, err)
	}
	return resp, nil
}

// topicPlaces has the place of each topic in a request that names its partitions by topic.
type topicPlaces map[string]int

// of returns the place of a topic, which is next, and new, if the request does not have it yet.
func (t topicPlaces) of(topic string, next int) (at int, added bool) {
	if at, known := t[topic]; known {
		return at, false
	}
	t[topic] = next
	return next, true
}
