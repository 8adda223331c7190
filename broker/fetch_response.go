package broker

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
)

// fetchRecords are the batches of one partition in a response: in memory, or a range of a file.
type fetchRecords interface {
	Len() int
	// layOut adds the bytes to a response: exactly Len of them.
	layOut(w *responseWriter) error
	Release()
}

// fetchResponse is a fetch response that never copies its records into one buffer. It encodes
// everything around the records by itself and passes them on as they are. The embedded response is
// only the part before and after the topics.
type fetchResponse struct {
	*kmsg.FetchResponse
	topics []fetchResponseTopic
}

type fetchResponseTopic struct {
	name       string
	id         metadata.TopicID
	partitions []fetchResponsePartition
}

// fetchResponsePartition is one partition of the response. RecordBatches is unused: records takes
// its place and may be nil.
type fetchResponsePartition struct {
	kmsg.FetchResponseTopicPartition
	records fetchRecords
}

// Release releases all records.
func (r *fetchResponse) Release() {
	for i := range r.topics {
		for j := range r.topics[i].partitions {
			p := &r.topics[i].partitions[j]
			if p.records != nil {
				p.records.Release()
				p.records = nil
			}
		}
	}
}

// WriteResponse lays out the response, versions 4-18.
func (r *fetchResponse) WriteResponse(w *responseWriter) error {
	e := fetchEncoder{w: w, version: r.Version, flexible: r.Version >= 12}
	e.int32(r.ThrottleMillis)
	if r.Version >= 7 {
		e.int16(r.ErrorCode)
		e.int32(r.SessionID)
	}
	e.arrayLen(len(r.topics))
	for i := range r.topics {
		if err := e.topic(&r.topics[i]); err != nil {
			return err
		}
	}
	if !e.flexible {
		return nil
	}
	if len(r.Brokers) == 0 {
		e.uvarint(0)
		return nil
	}
	e.uvarint(1)
	e.tag(0, func() { e.brokers(r.Brokers) })
	return nil
}

// fetchEncoder writes the fields of a fetch response. It finds the size of a tagged field by
// writing it first.
type fetchEncoder struct {
	w        *responseWriter
	version  int16
	flexible bool
}

func (e *fetchEncoder) topic(t *fetchResponseTopic) error {
	if e.version >= 13 {
		e.w.buf = append(e.w.buf, t.id[:]...)
	} else {
		e.string(t.name)
	}
	e.arrayLen(len(t.partitions))
	for i := range t.partitions {
		if err := e.partition(&t.partitions[i]); err != nil {
			return err
		}
	}
	e.noTags()
	return nil
}

func (e *fetchEncoder) partition(p *fetchResponsePartition) error {
	e.int32(p.Partition)
	e.int16(p.ErrorCode)
	e.int64(p.HighWatermark)
	e.int64(p.LastStableOffset)
	if e.version >= 5 {
		e.int64(p.LogStartOffset)
	}
	e.aborted(p.AbortedTransactions)
	if e.version >= 11 {
		e.int32(p.PreferredReadReplica)
	}
	if err := e.records(p.records); err != nil {
		return err
	}
	if e.flexible {
		e.partitionTags(p)
	}
	return nil
}

func (e *fetchEncoder) aborted(txns []kmsg.FetchResponseTopicPartitionAbortedTransaction) {
	if txns == nil {
		e.nullArray()
		return
	}
	e.arrayLen(len(txns))
	for i := range txns {
		e.int64(txns[i].ProducerID)
		e.int64(txns[i].FirstOffset)
		e.noTags()
	}
}

// records writes the length that Kafka puts before the batches, and r lays out the batches. Without
// records the field is empty, not null: some clients cannot decode null here.
func (e *fetchEncoder) records(r fetchRecords) error {
	n := 0
	if r != nil {
		n = r.Len()
	}
	if e.flexible {
		e.uvarint(uint32(n) + 1)
	} else {
		e.int32(int32(n))
	}
	if n == 0 {
		return nil
	}
	return r.layOut(e.w)
}

func (e *fetchEncoder) partitionTags(p *fetchResponsePartition) {
	diverging := p.DivergingEpoch.Epoch != -1 || p.DivergingEpoch.EndOffset != -1
	leader := p.CurrentLeader.LeaderID != -1 || p.CurrentLeader.LeaderEpoch != -1
	n := uint32(p.UnknownTags.Len())
	for _, present := range []bool{diverging, leader} {
		if present {
			n++
		}
	}
	e.uvarint(n)
	if diverging {
		e.tag(0, func() {
			e.int32(p.DivergingEpoch.Epoch)
			e.int64(p.DivergingEpoch.EndOffset)
			e.noTags()
		})
	}
	if leader {
		e.tag(1, func() {
			e.int32(p.CurrentLeader.LeaderID)
			e.int32(p.CurrentLeader.LeaderEpoch)
			e.noTags()
		})
	}
	p.UnknownTags.Each(func(number uint32, value []byte) {
		e.tag(number, func() { e.w.buf = append(e.w.buf, value...) })
	})
}

func (e *fetchEncoder) brokers(brokers []kmsg.FetchResponseBroker) {
	e.arrayLen(len(brokers))
	for i := range brokers {
		b := &brokers[i]
		e.int32(b.NodeID)
		e.string(b.Host)
		e.int32(b.Port)
		if b.Rack == nil {
			e.uvarint(0)
		} else {
			e.string(*b.Rack)
		}
		e.noTags()
	}
}

// tag writes one tagged field: its number, its size, and what body writes.
func (e *fetchEncoder) tag(number uint32, body func()) {
	e.uvarint(number)
	at := len(e.w.buf)
	body()
	size := len(e.w.buf) - at
	var prefix [binary.MaxVarintLen32]byte
	n := binary.PutUvarint(prefix[:], uint64(size))
	e.w.buf = append(e.w.buf, prefix[:n]...)
	copy(e.w.buf[at+n:], e.w.buf[at:at+size])
	copy(e.w.buf[at:], prefix[:n])
}

func (e *fetchEncoder) noTags() {
	if e.flexible {
		e.uvarint(0)
	}
}

func (e *fetchEncoder) arrayLen(n int) {
	if e.flexible {
		e.uvarint(uint32(n) + 1)
	} else {
		e.int32(int32(n))
	}
}

func (e *fetchEncoder) nullArray() {
	if e.flexible {
		e.uvarint(0)
	} else {
		e.int32(-1)
	}
}

func (e *fetchEncoder) string(s string) {
	if e.flexible {
		e.uvarint(uint32(len(s)) + 1)
	} else {
		e.int16(int16(len(s)))
	}
	e.w.buf = append(e.w.buf, s...)
}

func (e *fetchEncoder) int16(v int16) { e.w.buf = binary.BigEndian.AppendUint16(e.w.buf, uint16(v)) }

func (e *fetchEncoder) int32(v int32) { e.w.buf = binary.BigEndian.AppendUint32(e.w.buf, uint32(v)) }

func (e *fetchEncoder) int64(v int64) { e.w.buf = binary.BigEndian.AppendUint64(e.w.buf, uint64(v)) }

func (e *fetchEncoder) uvarint(v uint32) { e.w.buf = binary.AppendUvarint(e.w.buf, uint64(v)) }
