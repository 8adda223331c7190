package interbroker

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
)

// answerOnce is a broker that accepts one connection and one request. answer fills in the response;
// with nil it never answers.
func answerOnce(t *testing.T, answer func(*kmsg.ListOffsetsRequest, *kmsg.ListOffsetsResponse)) metadata.Broker {
	t.Helper()
	if answer == nil {
		return answerAny(t, nil)
	}
	return answerAny(t, func(req kmsg.Request, resp kmsg.Response) {
		answer(req.(*kmsg.ListOffsetsRequest), resp.(*kmsg.ListOffsetsResponse))
	})
}

// answerAny is answerOnce for any request.
func answerAny(t *testing.T, answer func(kmsg.Request, kmsg.Response)) metadata.Broker {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	wg.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		var size [4]byte
		_, _ = io.ReadFull(conn, size[:])
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		_, _ = io.ReadFull(conn, frame)
		if answer == nil {
			_, _ = conn.Read(size[:]) // until the client closes the connection
			return
		}
		header, body, err := protocol.ParseRequestHeader(frame)
		req := kmsg.RequestForKey(header.Key)
		req.SetVersion(header.Version)
		if err = errors.Join(err, req.ReadFrom(body)); err != nil {
			t.Error(err)
			return
		}
		resp := req.ResponseKind()
		answer(req, resp)
		out := resp.AppendTo(protocol.AppendResponseHeader(make([]byte, 4), 1, header.CorrelationID, true))
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		_, _ = conn.Write(out)
	})
	at := ln.Addr().(*net.TCPAddr)
	return metadata.Broker{ID: 7, Listeners: []metadata.Listener{{Name: listener, Host: "127.0.0.1", Port: int32(at.Port)}}}
}

// TestEndOffsetsAreThoseThatTheLeaderTells: EndOffsets returns the leader's answers and omits the
// one partition of three that has another leader by now.
func TestEndOffsetsAreThoseThatTheLeaderTells(t *testing.T) {
	broker := answerOnce(t, func(req *kmsg.ListOffsetsRequest, resp *kmsg.ListOffsetsResponse) {
		for _, asked := range req.Topics {
			topic := kmsg.NewListOffsetsResponseTopic()
			topic.Topic = asked.Topic
			for _, p := range asked.Partitions {
				if p.Timestamp != -1 || req.IsolationLevel != 0 || req.ReplicaID != -1 {
					t.Errorf("asked as %d for %d at level %d", req.ReplicaID, p.Timestamp, req.IsolationLevel)
				}
				answer := kmsg.NewListOffsetsResponseTopicPartition()
				answer.Partition, answer.Offset = p.Partition, int64(100+p.Partition)
				if p.Partition == 1 {
					answer.ErrorCode, answer.Offset = int16(protocol.NotLeaderOrFollower), -1
				}
				topic.Partitions = append(topic.Partitions, answer)
			}
			resp.Topics = append(resp.Topics, topic)
		}
	})
	got, err := Dialer{Listener: listener}.EndOffsets(t.Context(), broker, []metadata.TopicPartition{{Topic: "a"}, {Topic: "a", Partition: 1}, {Topic: "b", Partition: 2}})
	if want := (map[metadata.TopicPartition]int64{{Topic: "a"}: 100, {Topic: "b", Partition: 2}: 102}); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

// The wait for a silent leader ends with the context; the error carries both causes.
func TestEndOffsetsOfASilentLeaderEndWithTheContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := Dialer{Listener: listener}.EndOffsets(ctx, answerOnce(t, nil), []metadata.TopicPartition{{Topic: "a"}})
	if !errors.Is(err, replication.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
