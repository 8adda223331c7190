package main

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// produceLoad is a load of prebuilt requests with one batch each.
type produceLoad struct {
	size     int // bytes of a record's value
	records  int // of a batch
	acks     int16
	lz4      bool
	conns    int
	inFlight int // requests on each connection
}

// distinctBatches are built for a load. Partitions share them.
const distinctBatches = 8

// run sends batches to the partitions of a topic, all led by the broker at address, until ctx ends.
func (l produceLoad) run(ctx context.Context, address, topic string, count *counters) error {
	values := payloads(distinctBatches*l.records, l.size)
	batches := make([][]byte, distinctBatches)
	for i := range batches {
		var err error
		if batches[i], err = buildBatch(values[i*l.records:(i+1)*l.records], l.lz4); err != nil {
			return err
		}
	}
	return onConnections(ctx, l.conns, address, func(i int, c *conn) error {
		var requests [][]byte
		for p := i % topicPartitions; p < topicPartitions; p += l.conns {
			requests = append(requests, c.encode(nil, l.request(topic, int32(p), batches[p%len(batches)])))
		}
		return l.send(c, requests, count)
	})
}

func (l produceLoad) request(topic string, partition int32, batch []byte) *kmsg.ProduceRequest {
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, batch
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	request := kmsg.NewPtrProduceRequest()
	request.SetVersion(produceVersion)
	request.Acks, request.TimeoutMillis = l.acks, int32(answerLimit.Milliseconds())
	request.Topics = append(request.Topics, t)
	return request
}

// send writes the requests in turn and keeps inFlight of them unanswered. One goroutine does both:
// a response is small, so the broker never waits for its being read.
func (l produceLoad) send(c *conn, requests [][]byte, count *counters) error {
	response := kmsg.NewPtrProduceResponse()
	response.SetVersion(produceVersion)
	for sent := 0; ; sent++ {
		if _, err := c.send(requests[sent%len(requests)]); err != nil {
			return err
		}
		if sent < l.inFlight-1 {
			continue
		}
		if err := c.receive(int32(sent-l.inFlight+1), response); err != nil {
			return err
		}
		if err := produceError(response); err != nil {
			return err
		}
		count.add(1, int64(l.records), int64(l.records*l.size))
	}
}

func produceError(response *kmsg.ProduceResponse) error {
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return fmt.Errorf("produce to %s-%d: %w", t.Topic, p.Partition, err)
			}
		}
	}
	return nil
}
