package integration

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/record"
)

// brokerInFlight is the number of requests that a broker reads ahead on one connection.
const brokerInFlight = 16

var errNoAnswer = errors.New("the response has no answer for the partition")

// pipeline adds a producer that checks every single answer of a broker; see pipelineOver.
func (l *load) pipeline(address string, producer int, every time.Duration) {
	pipelineOver([]*load{l}, address, producer, every)
}

// pipelines adds one such producer for each broker, with numbers from 100 on.
func (l *load) pipelines(brokers []*process, every time.Duration) {
	for i, p := range brokers {
		l.pipeline(p.bootstrap, 100+i, every)
	}
}

// pipelineOver adds a producer that belongs to the first of the loads. At an interval it sends the
// broker one request with acks=all and a record for every partition of all their topics. It does so
// whether the broker leads the partitions or not, and without waiting for earlier answers.
// Partitions in different states thus share a request. The producer's number must be unique.
func pipelineOver(loads []*load, address string, producer int, every time.Duration) {
	loads[0].producing(func(ctx context.Context) {
		p := pipeline{loads: loads, address: address, producer: producer, every: every}
		p.run(ctx, loads[0].t.Context())
	})
}

// pipeline is one such producer.
type pipeline struct {
	loads    []*load
	address  string
	producer int
	every    time.Duration
	sent     int
}

// run sends until ctx ends, over one connection after another. The connections may live until the
// test ends.
func (p *pipeline) run(ctx, test context.Context) {
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	var w *wire
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			if w != nil {
				w.close(time.Minute)
			}
			return
		}
		if w == nil {
			var err error
			if w, err = dialWire(test, p.address, brokerInFlight); err != nil {
				continue // the broker is down
			}
		}
		if err := p.send(w); err != nil {
			w.close(time.Second)
			w = nil
		}
	}
}

// send sends the next record of every partition.
func (p *pipeline) send(w *wire) error {
	request := kmsg.NewPtrProduceRequest()
	request.SetVersion(11) // the last version with names of topics
	request.Acks, request.TimeoutMillis = -1, 60_000
	id := recordID{p.producer, p.sent}
	p.sent++
	calls := make([]instant, len(p.loads))
	for i, l := range p.loads {
		topic := kmsg.NewProduceRequestTopic()
		topic.Topic = l.topic
		for number := range l.partitions {
			batch, err := l.batch(id)
			if err != nil {
				return err
			}
			partition := kmsg.NewProduceRequestTopicPartition()
			partition.Partition, partition.Records = number, batch
			topic.Partitions = append(topic.Partitions, partition)
		}
		request.Topics = append(request.Topics, topic)
		calls[i] = l.history.now()
	}
	return w.send(request, func(response kmsg.Response, err error) {
		for i, l := range p.loads {
			l.enter(id, calls[i], response, err)
		}
	})
}

func (l *load) batch(id recordID) ([]byte, error) {
	var b record.Builder
	b.Append(time.Now().UnixMilli(), nil, id.encode(l.value))
	return b.Build()
}

// enter records the answer of each partition.
func (l *load) enter(id recordID, call instant, response kmsg.Response, err error) {
	offsets, failures := map[int32]int64{}, map[int32]error{}
	if r, ok := response.(*kmsg.ProduceResponse); ok && err == nil {
		for _, topic := range r.Topics {
			for _, answer := range topic.Partitions {
				if topic.Topic == l.topic {
					offsets[answer.Partition], failures[answer.Partition] = answer.BaseOffset, kerr.ErrorForCode(answer.ErrorCode)
				}
			}
		}
	}
	for number := range l.partitions {
		offset, answered := offsets[number]
		failure := err
		if err == nil {
			failure = failures[number]
		}
		if err == nil && !answered {
			failure = fmt.Errorf("%s:%d: %w", l.topic, number, errNoAnswer)
			l.t.Error(failure)
		}
		l.history.append(number, id, call, offset, failure)
	}
}
