package broker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/record"
	"github.com/varvelog/varve/vfs"
)

func TestProduceInEveryVersion(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	id := c.topic("a", 1)
	next := int64(0)
	for version := int16(3); version <= 13; version++ {
		for _, acks := range []int16{-1, 1, 0} {
			name := "a"
			if version >= 13 {
				name = "" // not in the request
			}
			r := &Request{}
			resp := c.exchange(r, produceRequest(version, acks, name, id, 0, batchOf(t, "one", "two")))
			if acks == 0 {
				if resp != nil || r.abort.Load() != nil {
					t.Errorf("v%d: acks=0 is answered, or closes the connection", version)
				}
				next += 2
				continue
			}
			answer := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
			if answer.ErrorCode != 0 || answer.BaseOffset != next || answer.LogAppendTime != -1 || version >= 5 && answer.LogStartOffset != 0 {
				t.Errorf("v%d acks=%d: %+v, want offset %d", version, acks, answer, next)
			}
			if version >= 13 && resp.(*kmsg.ProduceResponse).Topics[0].TopicID != id {
				t.Errorf("v%d: the answer has another topic id", version)
			}
			next += 2
		}
	}
	if end := c.hosted("a", 0).HighWatermark(); end != next {
		t.Errorf("high watermark %d, want %d", end, next)
	}
}

func TestProduceErrors(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.topic("a", 1)
	c.topic("small", 1, "max.message.bytes", "1000")
	c.topic("two", 1, "min.insync.replicas", "2")
	c.topic("compact", 1, "cleanup.policy", "compact")
	c.topic(offsetsTopic, 1)
	c.assigned("elsewhere", []int32{2})

	corrupt := batchOf(t, "v")
	corrupt[len(corrupt)-1] ^= 1
	magic := func(m byte) []byte {
		b := batchOf(t, "v")
		b[16] = m
		return b
	}
	noKey := record.Builder{}
	noKey.Append(1000, nil, []byte("v"))
	keyless, err := noKey.Build()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []struct {
		name    string
		version int16
		acks    int16
		topic   string
		part    int32
		records []byte
		want    protocol.ErrorCode
	}{
		{"fine", 12, -1, "a", 0, batchOf(t, "v"), protocol.None},
		{"fine, with junk behind", 12, -1, "a", 0, append(batchOf(t, "v"), 1, 2, 3), protocol.None},
		{"unknown topic", 12, -1, "b", 0, batchOf(t, "v"), protocol.UnknownTopicOrPartition},
		{"unknown partition", 12, -1, "a", 1, batchOf(t, "v"), protocol.UnknownTopicOrPartition},
		{"negative partition", 12, -1, "a", -1, batchOf(t, "v"), protocol.UnknownTopicOrPartition},
		{"unknown topic id", 13, -1, "", 0, batchOf(t, "v"), protocol.UnknownTopicID},
		{"led elsewhere", 12, -1, "elsewhere", 0, batchOf(t, "v"), protocol.NotLeaderOrFollower},
		{"internal topic", 12, -1, offsetsTopic, 0, batchOf(t, "v"), protocol.InvalidTopicException},
		{"bad acks", 12, 2, "a", 0, batchOf(t, "v"), protocol.InvalidRequiredAcks},
		{"min.insync.replicas above the replication factor", 12, -1, "two", 0, batchOf(t, "v"), protocol.None},
		{"too large", 12, -1, "small", 0, batchOf(t, strings.Repeat("x", 2000)), protocol.MessageTooLarge},
		{"wrong CRC", 12, -1, "a", 0, corrupt, protocol.CorruptMessage},
		{"cut short", 12, -1, "a", 0, batchOf(t, "v")[:50], protocol.InvalidRecord},
		{"no batch", 12, -1, "a", 0, []byte{}, protocol.InvalidRecord},
		{"null", 12, -1, "a", 0, nil, protocol.InvalidRecord},
		{"two batches", 12, -1, "a", 0, append(batchOf(t, "v"), batchOf(t, "w")...), protocol.InvalidRecord},
		{"magic 0", 12, -1, "a", 0, magic(0), protocol.InvalidRecord},
		{"magic 1", 12, -1, "a", 0, magic(1), protocol.InvalidRecord},
		{"magic 3", 12, -1, "a", 0, magic(3), protocol.CorruptMessage},
		{"no key in a compacted topic", 12, -1, "compact", 0, keyless, protocol.InvalidRecord},
		{"zstd too early", 6, -1, "a", 0, buildBatch(t, &record.Builder{Codec: record.CodecZstd}, "v"), protocol.UnsupportedCompressionType},
		{"zstd", 7, -1, "a", 0, buildBatch(t, &record.Builder{Codec: record.CodecZstd}, "v"), protocol.None},
		{"transactional", 12, -1, "a", 0, buildBatch(t, &record.Builder{HasProducer: true, Transactional: true}, "v"), protocol.InvalidTxnState},
		{"control", 12, -1, "a", 0, buildBatch(t, &record.Builder{HasProducer: true, Control: true}, "v"), protocol.InvalidRecord},
		{"lost sequence", 12, -1, "a", 0, buildBatch(t, &record.Builder{HasProducer: true, ProducerID: 7, BaseSequence: 5}, "v"), protocol.None},
	} {
		req := produceRequest(q.version, q.acks, q.topic, metadata.TopicID{9}, q.part, q.records)
		answer := c.exchange(&Request{}, req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if answer.ErrorCode != int16(q.want) {
			t.Errorf("%s: %v, want %v", q.name, protocol.ErrorCode(answer.ErrorCode), q.want)
		}
		if q.want == protocol.None {
			continue
		}
		if answer.BaseOffset != -1 || answer.LogAppendTime != -1 || q.version >= 8 && answer.ErrorMessage == nil {
			t.Errorf("%s: %+v", q.name, answer)
		}
		if hinted := answer.CurrentLeader.LeaderID == 2; hinted != (q.want == protocol.NotLeaderOrFollower) {
			t.Errorf("%s: leader hint %+v", q.name, answer.CurrentLeader)
		}
		// Without a response, the end of the connection reports the error.
		if q.want != protocol.InvalidRequiredAcks && q.want != protocol.NotEnoughReplicas {
			req.Acks = 0
			r := &Request{}
			if resp := c.exchange(r, req); resp != nil || r.abort.Load() == nil {
				t.Errorf("%s, acks=0: answered, or the connection stays", q.name)
			}
		}
	}
	expectLogged(t, c.logs, "level", 0)
}

func TestProduceNamesTheLeadersAddress(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.assigned("elsewhere", []int32{2, 2})
	for version := int16(9); version <= 12; version++ {
		req := produceRequest(version, -1, "elsewhere", metadata.TopicID{}, 0, batchOf(t, "v"))
		addRecords(req, "elsewhere", metadata.TopicID{}, 1, batchOf(t, "v"))
		resp := c.exchange(&Request{}, req).(*kmsg.ProduceResponse)
		if version < 10 {
			if len(resp.Brokers) != 0 {
				t.Errorf("v%d: %+v", version, resp.Brokers)
			}
			continue
		}
		if len(resp.Brokers) != 1 || resp.Brokers[0].NodeID != 2 || resp.Brokers[0].Host != "broker2" || shown(resp.Brokers[0].Rack) != "r" {
			t.Errorf("v%d: %+v", version, resp.Brokers)
		}
	}
}

// TestProduceToManyPartitions: an error of one partition does not keep the batches of the others
// out.
func TestProduceToManyPartitions(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.topic("a", 3)
	req := produceRequest(11, -1, "a", metadata.TopicID{}, 0, batchOf(t, "v"))
	addRecords(req, "nowhere", metadata.TopicID{}, 0, batchOf(t, "v"))
	addRecords(req, "a", metadata.TopicID{}, 2, batchOf(t, "v", "w"))
	resp := c.exchange(&Request{}, req).(*kmsg.ProduceResponse)
	var got []string
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			got = append(got, fmt.Sprintf("%s-%d: %d at %d", topic.Topic, p.Partition, p.ErrorCode, p.BaseOffset))
		}
	}
	if want := []string{"a-0: 0 at 0", "nowhere-0: 3 at -1", "a-2: 0 at 0"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if end := c.hosted("a", 2).HighWatermark(); end != 2 {
		t.Errorf("a-2 ends at %d", end)
	}
}

func TestIdempotentDuplicateGetsItsOffset(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.topic("a", 1)
	send := func(sequence int32) kmsg.ProduceResponseTopicPartition {
		records := buildBatch(t, &record.Builder{HasProducer: true, ProducerID: 3, BaseSequence: sequence}, "v", "w")
		return c.exchange(&Request{}, produceRequest(12, -1, "a", metadata.TopicID{}, 0, records)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	}
	for sequence := int32(0); sequence < 10; sequence += 2 {
		send(sequence)
	}
	if again := send(4); again.ErrorCode != 0 || again.BaseOffset != 4 {
		t.Errorf("duplicate: %+v", again)
	}
	gap := send(20)
	if gap.ErrorCode != int16(protocol.OutOfOrderSequenceNumber) || gap.LogStartOffset != 0 || gap.BaseOffset != -1 {
		t.Errorf("gap: %+v", gap)
	}
	if end := c.hosted("a", 0).HighWatermark(); end != 10 {
		t.Errorf("the log ends at %d", end)
	}
}

func TestLogAppendTimeIsTold(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.topic("a", 1, "message.timestamp.type", "LogAppendTime")
	if answer := c.produce("a", 0, "v"); answer.ErrorCode != 0 || answer.LogAppendTime < 1_000_000 {
		t.Errorf("%+v", answer)
	}
}

// TestProduceOnABrokenDisk: producers get an error that they retry. It has no text, because a text
// would reveal paths of the machine.
func TestProduceOnABrokenDisk(t *testing.T) {
	faulty := vfs.NewFaulty(vfs.NewMem())
	c := newDataCluster(t, faulty)
	c.topic("a", 1, "flush.messages", "1")
	c.produce("a", 0, "v")
	faulty.Inject(vfs.Fault{Op: vfs.OpSync, Err: errors.New("broken")})
	answer := c.produce("a", 0, "v")
	if answer.ErrorCode != int16(protocol.KafkaStorageError) || answer.ErrorMessage != nil {
		t.Errorf("%v, %s", protocol.ErrorCode(answer.ErrorCode), shown(answer.ErrorMessage))
	}
}

// TestPipelinedProduceKeepsItsOrder: the requests of one connection are appended and answered in
// their order, however many are in flight.
func TestPipelinedProduceKeepsItsOrder(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.topic("a", 1, "flush.messages", "1")
	r := serveOn(t, c.Broker)
	defer r.finish(t, c.Broker)
	conn := r.dial(t, "10.0.0.1:1")
	defer conn.Close()
	const n = 200
	req := func(i int) *kmsg.ProduceRequest {
		acks := int16(-1)
		if i%3 == 0 {
			acks = 0
		}
		return produceRequest(12, acks, "a", metadata.TopicID{}, 0, batchOf(t, fmt.Sprint(i)))
	}
	go func() {
		for i := range n {
			conn.send(int32(i), req(i))
		}
	}()
	for i := range n {
		if i%3 == 0 {
			continue
		}
		answer := conn.expect(int32(i), req(i)).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if answer.ErrorCode != 0 || answer.BaseOffset != int64(i) {
			t.Fatalf("request %d: %+v", i, answer)
		}
	}
}

// FuzzProducedBatch: no bytes panic, and an accepted batch is one batch of format 2.
func FuzzProducedBatch(f *testing.F) {
	var b record.Builder
	b.Append(1000, []byte("k"), []byte("v"))
	good, err := b.Build()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(int16(12), []byte(good))
	f.Add(int16(3), append(slices.Clone([]byte(good)), good...))
	f.Add(int16(3), []byte(good)[:40])
	f.Fuzz(func(t *testing.T, version int16, records []byte) {
		batch, err := producedBatch(version, records)
		if err != nil {
			if code, known := errorCode(err); !known || code == protocol.None {
				t.Errorf("%v has no code", err)
			}
			return
		}
		if len(batch) > len(records) || batch.Magic() != record.MagicV2 || batch.Size() != len(batch) {
			t.Errorf("accepted %x", batch)
		}
	})
}
