package broker

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/varvelog/varve/protocol"
)

// fakeRecords are laid out in one of three ways: encoded, as foreign bytes, as a stream.
type fakeRecords struct {
	bytes    []byte
	way      int
	err      error
	released int
}

func (r *fakeRecords) Len() int { return len(r.bytes) }
func (r *fakeRecords) Release() { r.released++ }

func (r *fakeRecords) layOut(w *responseWriter) error {
	switch r.way {
	case 0:
		w.Encode(func(dst []byte) []byte { return append(dst, r.bytes...) })
	case 1:
		w.Bytes(r.bytes)
	default:
		w.Stream(bytes.NewReader(r.bytes), int64(len(r.bytes)))
	}
	return r.err
}

// sent returns the body of a response as it is sent.
func sent(t interface{ Fatal(...any) }, resp *fetchResponse) []byte {
	w := newResponseWriter()
	defer w.free()
	w.begin(protocol.RequestHeader{Key: 1, CorrelationID: 7}, resp.IsFlexible())
	if err := errors.Join(w.body(resp), w.finish()); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := w.send(&b); err != nil {
		t.Fatal(err)
	}
	if int64(b.Len()) != w.size {
		t.Fatal(fmt.Sprintf("announced %d bytes, sent %d", w.size, b.Len()))
	}
	header := 8
	if resp.IsFlexible() {
		header++
	}
	return b.Bytes()[header:]
}

// TestFetchResponseIsEncodedAsKmsgDoes: fetchEncoder and kmsg write the same bytes, in every
// version and for each way to lay out records.
func TestFetchResponseIsEncodedAsKmsgDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		version := int16(rapid.IntRange(4, 18).Draw(t, "version"))
		resp, want := drawFetchResponse(t, version)
		got := sent(t, resp)
		if encoded := want.AppendTo(nil); !bytes.Equal(got, encoded) {
			t.Fatalf("version %d: got\n%x\nwant\n%x", version, got, encoded)
		}
		decoded := kmsg.NewPtrFetchResponse()
		decoded.SetVersion(version)
		if err := decoded.ReadFrom(got); err != nil {
			t.Fatal(err)
		}
		if len(decoded.Topics) != len(want.Topics) {
			t.Fatalf("version %d: %d topics, want %d", version, len(decoded.Topics), len(want.Topics))
		}
		for i := range want.Topics {
			if got, want := len(decoded.Topics[i].Partitions), len(want.Topics[i].Partitions); got != want {
				t.Fatalf("version %d: %d partitions, want %d", version, got, want)
			}
			for j := range want.Topics[i].Partitions {
				g, w := &decoded.Topics[i].Partitions[j], &want.Topics[i].Partitions[j]
				if !bytes.Equal(g.RecordBatches, w.RecordBatches) || g.RecordBatches == nil || g.HighWatermark != w.HighWatermark {
					t.Fatalf("version %d: got %+v, want %+v", version, g, w)
				}
				if version >= 12 && !reflect.DeepEqual(g.CurrentLeader, w.CurrentLeader) {
					t.Fatalf("version %d: leader %+v, want %+v", version, g.CurrentLeader, w.CurrentLeader)
				}
			}
		}
	})
}

func drawFetchResponse(t *rapid.T, version int16) (*fetchResponse, *kmsg.FetchResponse) {
	want := kmsg.NewPtrFetchResponse()
	want.SetVersion(version)
	want.ThrottleMillis = rapid.Int32().Draw(t, "throttle")
	want.ErrorCode = rapid.Int16().Draw(t, "code")
	want.SessionID = rapid.Int32().Draw(t, "session")
	if version >= 16 {
		for range rapid.IntRange(0, 2).Draw(t, "brokers") {
			b := kmsg.NewFetchResponseBroker()
			b.NodeID, b.Host, b.Port = rapid.Int32().Draw(t, "node"), rapid.StringN(0, 200, 400).Draw(t, "host"), rapid.Int32().Draw(t, "port")
			if rapid.Bool().Draw(t, "has rack") {
				b.Rack = new(rapid.String().Draw(t, "rack"))
			}
			want.Brokers = append(want.Brokers, b)
		}
	}
	head := *want
	resp := &fetchResponse{FetchResponse: &head}
	for range rapid.IntRange(0, 3).Draw(t, "topics") {
		topic := kmsg.NewFetchResponseTopic()
		topic.Topic = rapid.StringN(0, 30, 249).Draw(t, "topic")
		copy(topic.TopicID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
		ours := fetchResponseTopic{name: topic.Topic, id: topic.TopicID}
		for range rapid.IntRange(0, 3).Draw(t, "partitions") {
			p := drawFetchPartition(t)
			part := fetchResponsePartition{FetchResponseTopicPartition: p}
			p.RecordBatches = rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "records")
			if len(p.RecordBatches) > 0 || rapid.Bool().Draw(t, "empty records") {
				part.records = &fakeRecords{bytes: p.RecordBatches, way: rapid.IntRange(0, 2).Draw(t, "way")}
			}
			if p.RecordBatches == nil {
				p.RecordBatches = []byte{}
			}
			topic.Partitions = append(topic.Partitions, p)
			ours.partitions = append(ours.partitions, part)
		}
		want.Topics = append(want.Topics, topic)
		resp.topics = append(resp.topics, ours)
	}
	return resp, want
}

func drawFetchPartition(t *rapid.T) kmsg.FetchResponseTopicPartition {
	p := kmsg.NewFetchResponseTopicPartition()
	p.Partition = rapid.Int32().Draw(t, "partition")
	p.ErrorCode = rapid.Int16().Draw(t, "partition code")
	p.HighWatermark = rapid.Int64().Draw(t, "high watermark")
	p.LastStableOffset = rapid.Int64().Draw(t, "last stable")
	p.LogStartOffset = rapid.Int64().Draw(t, "log start")
	p.PreferredReadReplica = rapid.Int32().Draw(t, "preferred")
	if rapid.Bool().Draw(t, "diverges") {
		p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = rapid.Int32().Draw(t, "epoch"), rapid.Int64().Draw(t, "end")
	}
	if rapid.Bool().Draw(t, "has leader") {
		p.CurrentLeader.LeaderID, p.CurrentLeader.LeaderEpoch = rapid.Int32().Draw(t, "leader"), rapid.Int32().Draw(t, "leader epoch")
	}
	if rapid.Bool().Draw(t, "has aborted") {
		p.AbortedTransactions = []kmsg.FetchResponseTopicPartitionAbortedTransaction{}
		for range rapid.IntRange(0, 2).Draw(t, "aborted") {
			a := kmsg.NewFetchResponseTopicPartitionAbortedTransaction()
			a.ProducerID, a.FirstOffset = rapid.Int64().Draw(t, "producer"), rapid.Int64().Draw(t, "first")
			p.AbortedTransactions = append(p.AbortedTransactions, a)
		}
	}
	return p
}

func TestFetchResponseReleasesItsRecordsOnce(t *testing.T) {
	for _, broken := range []error{nil, errors.New("disk")} {
		records := []*fakeRecords{{bytes: []byte("a")}, {bytes: []byte("b"), err: broken}, {bytes: []byte("c")}}
		resp := &fetchResponse{FetchResponse: kmsg.NewPtrFetchResponse(), topics: []fetchResponseTopic{{}, {}}}
		resp.SetVersion(18)
		for i, r := range records {
			topic := &resp.topics[i%2]
			topic.partitions = append(topic.partitions, fetchResponsePartition{records: r})
		}
		w := newResponseWriter()
		if err := resp.WriteResponse(w); !errors.Is(err, broken) {
			t.Errorf("write: %v, want %v", err, broken)
		}
		resp.Release()
		resp.Release()
		for i, r := range records {
			if r.released != 1 {
				t.Errorf("records %d were released %d times", i, r.released)
			}
		}
	}
}
