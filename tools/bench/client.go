package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// The settings of the franz-go producer. The memory is that of the Java producer by default.
const (
	producerLinger   = 5 * time.Millisecond
	producerBatch    = 256 << 10
	producerMemory   = 32 << 20
	producerPayloads = 2000
)

// goProduce produces records of size bytes with franz-go and acks=all until ctx ends.
func goProduce(ctx context.Context, addresses []string, topic string, size int, count *counters) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	client, err := kgo.NewClient(
		kgo.SeedBrokers(addresses...), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(producerLinger),
		kgo.ProducerBatchMaxBytes(producerBatch), kgo.MaxBufferedBytes(producerMemory),
		kgo.MaxBufferedRecords(producerMemory/64), kgo.ProducerBatchCompression(kgo.NoCompression()),
	)
	if err != nil {
		return fmt.Errorf("make a producer: %w", err)
	}
	defer client.Close()
	values := payloads(producerPayloads, size)
	acknowledged := func(r *kgo.Record, err error) {
		switch {
		case err == nil:
			count.add(0, 1, int64(len(r.Value)))
		case ctx.Err() == nil:
			fail(fmt.Errorf("produce to %s: %w", topic, err))
		}
	}
	for i := 0; ctx.Err() == nil; i++ {
		client.Produce(ctx, &kgo.Record{Value: values[i%len(values)]}, acknowledged)
	}
	return failure(ctx)
}

// goConsume reads all records of a topic with franz-go, over and over, until ctx ends.
func goConsume(ctx context.Context, addresses []string, topic string, records int64, count *counters) error {
	for ctx.Err() == nil {
		if err := goConsumeOnce(ctx, addresses, topic, records, count); err != nil {
			return err
		}
	}
	return nil
}

func goConsumeOnce(ctx context.Context, addresses []string, topic string, records int64, count *counters) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(addresses...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxBytes(fetchMaxBytes), kgo.FetchMaxPartitionBytes(partitionMaxBytes),
	)
	if err != nil {
		return fmt.Errorf("make a consumer: %w", err)
	}
	defer client.Close()
	for records > 0 {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err = fetches.Err(); err != nil {
			return fmt.Errorf("consume %s: %w", topic, err)
		}
		var n, bytes int64
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			bytes += int64(len(r.Value))
		})
		records -= n
		count.add(0, n, bytes)
	}
	return nil
}
