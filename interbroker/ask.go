package interbroker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
)

// ask sends one request to a broker over a connection of its own and returns the response. The
// error for an unreadable answer names what was requested.
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

// topicPlaces maps each topic to its index in a request that lists partitions by topic.
type topicPlaces map[string]int

// of returns the index of a topic. If the request does not have the topic yet, the index is next
// and added is true.
func (t topicPlaces) of(topic string, next int) (at int, added bool) {
	if at, known := t[topic]; known {
		return at, false
	}
	t[topic] = next
	return next, true
}
