package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// The settings of a consumer, with Kafka's defaults.
const (
	fetchMaxBytes     = 50 << 20
	partitionMaxBytes = 1 << 20
	fetchMaxWait      = 500 // ms
)

// fetchLoad reads a topic over and over, and nothing of a batch but its header.
type fetchLoad struct {
	size  int // bytes of a record's value
	conns int
}

// run reads the partitions of a topic, all led by the broker at address, until ctx ends.
func (l fetchLoad) run(ctx context.Context, address, topic string, count *counters) error {
	return onConnections(ctx, l.conns, address, func(i int, c *conn) error {
		next := map[int32]int64{}
		for p := i; p < topicPartitions; p += l.conns {
			next[int32(p)] = 0
		}
		return l.read(c, topic, next, count)
	})
}

// read sends one request after another, for the offsets in next. A partition that was read to its
// end begins again.
func (l fetchLoad) read(c *conn, topic string, next map[int32]int64, count *counters) error {
	var request []byte
	for {
		request = c.encode(request, fetchRequest(topic, next))
		id, err := c.send(request)
		if err != nil {
			return err
		}
		size, err := c.begin(id)
		if err != nil {
			return err
		}
		body := &fetchBody{reader: c.reader, left: size}
		records, err := body.read(next)
		if err != nil {
			return fmt.Errorf("read a fetch response: %w", err)
		}
		count.add(1, records, records*int64(l.size))
	}
}

func fetchRequest(topic string, next map[int32]int64) *kmsg.FetchRequest {
	request := kmsg.NewPtrFetchRequest()
	request.SetVersion(fetchVersion)
	request.MaxWaitMillis, request.MinBytes, request.MaxBytes = fetchMaxWait, 1, fetchMaxBytes
	request.SessionEpoch = -1 // no session
	t := kmsg.NewFetchRequestTopic()
	t.Topic = topic
	for _, partition := range slices.Sorted(maps.Keys(next)) {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = partition, next[partition], partitionMaxBytes
		t.Partitions = append(t.Partitions, p)
	}
	request.Topics = append(request.Topics, t)
	return request
}

// fetchBody decodes a fetch response while it arrives, so that records are never kept.
type fetchBody struct {
	reader *bufio.Reader
	left   int   // bytes of the response that are not read
	err    error // the first; what is read after it is zero
}

// read reads the response, moves the offsets in next, and returns the number of records in whole
// batches.
func (b *fetchBody) read(next map[int32]int64) (records int64, err error) {
	b.tags() // of the header
	b.skip(4)
	b.check(b.int16())
	b.skip(4)
	for range b.length() {
		b.skip(b.length()) // the topic's name
		for range b.length() {
			records += b.partition(next)
		}
		b.tags()
	}
	b.tags()
	if b.err == nil && b.left != 0 {
		b.err = fmt.Errorf("%w: %d bytes are left", errMalformed, b.left)
	}
	return records, b.err
}

func (b *fetchBody) partition(next map[int32]int64) (records int64) {
	partition := b.int32()
	b.check(b.int16())
	highWatermark := b.int64()
	b.skip(8 + 8)
	for range b.length() { // aborted transactions
		b.skip(8 + 8)
		b.tags()
	}
	b.skip(4)
	records = b.batches(b.length(), partition, next)
	b.tags()
	if next[partition] >= highWatermark {
		next[partition] = 0
	}
	return records
}

func (b *fetchBody) check(code int16) {
	if err := kerr.ErrorForCode(code); err != nil && b.err == nil {
		b.err = err
	}
}

// batches reads the headers of the batches in size bytes and skips their records. The last batch
// may be cut.
func (b *fetchBody) batches(size int, partition int32, next map[int32]int64) (records int64) {
	for size >= batchHeader && b.err == nil {
		header := b.peek(batchHeader)
		if header == nil {
			return records
		}
		length := afterLength + int(int32(binary.BigEndian.Uint32(header[batchLength:])))
		if length < batchHeader {
			b.fail("a batch of %d bytes", length)
			return records
		}
		if length > size {
			break
		}
		last := int64(binary.BigEndian.Uint64(header)) + int64(int32(binary.BigEndian.Uint32(header[batchLastDelta:])))
		records += int64(int32(binary.BigEndian.Uint32(header[batchCount:])))
		next[partition] = last + 1
		b.skip(length)
		size -= length
	}
	b.skip(size)
	return records
}

// tags skips tagged fields.
func (b *fetchBody) tags() {
	for range b.atMostLeft(b.uvarint()) {
		b.uvarint()
		b.skip(b.uvarint())
	}
}

// length reads the length of a compact array, string or byte string. Null has none.
func (b *fetchBody) length() int { return b.atMostLeft(max(0, b.uvarint()-1)) }

// atMostLeft refuses a number of elements that the rest of the response cannot have.
func (b *fetchBody) atMostLeft(n int) int {
	if n > b.left {
		b.fail("%d elements in %d bytes", n, b.left)
		return 0
	}
	return n
}

func (b *fetchBody) uvarint() int {
	value := 0
	for shift := 0; shift < 35; shift += 7 {
		part := b.take(1)
		if part == nil {
			return 0
		}
		value |= int(part[0]&0x7f) << shift
		if part[0] < 0x80 {
			return value
		}
	}
	b.fail("a length of more than five bytes")
	return 0
}

func (b *fetchBody) int16() int16 {
	if part := b.take(2); part != nil {
		return int16(binary.BigEndian.Uint16(part))
	}
	return 0
}

func (b *fetchBody) int32() int32 {
	if part := b.take(4); part != nil {
		return int32(binary.BigEndian.Uint32(part))
	}
	return 0
}

func (b *fetchBody) int64() int64 {
	if part := b.take(8); part != nil {
		return int64(binary.BigEndian.Uint64(part))
	}
	return 0
}

// take returns the next n bytes, which are valid until more are read, or nil after an error.
func (b *fetchBody) take(n int) []byte {
	part := b.peek(n)
	if part != nil {
		b.skip(n)
	}
	return part
}

func (b *fetchBody) peek(n int) []byte {
	if b.err == nil && n > b.left {
		b.fail("it ends early")
	}
	if b.err != nil {
		return nil
	}
	part, err := b.reader.Peek(n)
	if err != nil {
		b.err = err
		return nil
	}
	return part
}

func (b *fetchBody) skip(n int) {
	if b.err == nil && n > b.left {
		b.fail("it ends early")
	}
	if b.err != nil {
		return
	}
	b.left -= n
	_, b.err = b.reader.Discard(n)
}

func (b *fetchBody) fail(format string, args ...any) {
	if b.err == nil {
		b.err = fmt.Errorf("%w: %s", errMalformed, fmt.Sprintf(format, args...))
	}
}
