package interbroker

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const listener = "PLAINTEXT"

// leader answers fetches with responses that answer fills in.
type leader struct {
	net.Listener
	broker metadata.Broker
	asked  chan *kmsg.FetchRequest
}

func newLeader(t *testing.T, answer func(*kmsg.FetchRequest, *kmsg.FetchResponse)) *leader {
	t.Helper()
	return newLeaderOn(t, func(ln net.Listener) net.Listener { return ln }, answer)
}

func newLeaderOn(t *testing.T, wrap func(net.Listener) net.Listener, answer func(*kmsg.FetchRequest, *kmsg.FetchResponse)) *leader {
	t.Helper()
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln = wrap(ln)
	at := ln.Addr().(*net.TCPAddr)
	l := &leader{Listener: ln, asked: make(chan *kmsg.FetchRequest, 100), broker: metadata.Broker{
		ID: 7, Listeners: []metadata.Listener{{Name: listener, Host: "127.0.0.1", Port: int32(at.Port)}},
	}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { l.serve(conn, answer) })
		}
	})
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	return l
}

func (l *leader) serve(conn net.Conn, answer func(*kmsg.FetchRequest, *kmsg.FetchResponse)) {
	defer conn.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(conn, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(conn, frame); err != nil {
			return
		}
		header, body, err := protocol.ParseRequestHeader(frame)
		if err != nil {
			return
		}
		req := kmsg.NewPtrFetchRequest()
		req.Version = header.Version
		if err = req.ReadFrom(body); err != nil {
			return
		}
		l.asked <- req
		resp := req.ResponseKind().(*kmsg.FetchResponse)
		answer(req, resp)
		out := protocol.AppendResponseHeader(make([]byte, 4), 1, header.CorrelationID, true)
		out = resp.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err = conn.Write(out); err != nil {
			return
		}
	}
}

func position(partition int32, offset int64) replication.ReplicaPosition {
	return replication.ReplicaPosition{
		TopicID: metadata.TopicID{1}, Partition: partition, Offset: offset, LeaderEpoch: 3, LastFetchedEpoch: 2, MaxBytes: 100,
	}
}

func connect(t *testing.T, b metadata.Broker) replication.LeaderConn {
	t.Helper()
	c := Dialer{Listener: listener}.Dial(b)
	t.Cleanup(c.Close)
	return c
}

// named returns the partitions that a request names, with their offsets.
func named(req *kmsg.FetchRequest) map[int32]int64 {
	m := map[int32]int64{}
	for _, t := range req.Topics {
		for _, p := range t.Partitions {
			m[p.Partition] = p.FetchOffset
		}
	}
	return m
}

// An incremental fetch names only partitions whose position has changed, and lists those that are
// no longer requested as forgotten.
func TestSessionNamesOnlyWhatChanged(t *testing.T) {
	l := newLeader(t, func(req *kmsg.FetchRequest, resp *kmsg.FetchResponse) {
		if resp.SessionID = req.SessionID; req.SessionEpoch == 0 {
			resp.SessionID = 5
		}
	})
	c := connect(t, l.broker)
	for i, step := range []struct {
		positions         []replication.ReplicaPosition
		named             map[int32]int64
		session, epoch    int32
		forgottenPartions int
	}{
		{[]replication.ReplicaPosition{position(0, 10), position(1, 10)}, map[int32]int64{0: 10, 1: 10}, 0, 0, 0},
		{[]replication.ReplicaPosition{position(0, 10), position(1, 10)}, map[int32]int64{}, 5, 1, 0},
		{[]replication.ReplicaPosition{position(0, 12), position(1, 10)}, map[int32]int64{0: 12}, 5, 2, 0},
		{[]replication.ReplicaPosition{position(1, 10)}, map[int32]int64{}, 5, 3, 1},
		{[]replication.ReplicaPosition{position(0, 12), position(1, 10)}, map[int32]int64{0: 12}, 5, 4, 0},
	} {
		if _, err := c.Fetch(t.Context(), &replication.ReplicaFetch{Replica: metadata.Member{Broker: 2, Epoch: 9}, Positions: step.positions}); err != nil {
			t.Fatal(err)
		}
		req := <-l.asked
		got := named(req)
		if len(got) != len(step.named) || req.SessionID != step.session || req.SessionEpoch != step.epoch || len(req.ForgottenTopics) != step.forgottenPartions {
			t.Errorf("step %d: names %v in session %d/%d, forgets %v", i, got, req.SessionID, req.SessionEpoch, req.ForgottenTopics)
		}
		for p, offset := range step.named {
			if got[p] != offset {
				t.Errorf("step %d: partition %d at %d", i, p, got[p])
			}
		}
		if req.ReplicaState.ID != 2 || req.ReplicaState.Epoch != 9 {
			t.Errorf("step %d: replica %+v", i, req.ReplicaState)
		}
	}
}

// If the leader has lost the session, the same Fetch starts over with a full request.
func TestLostSessionBeginsAnew(t *testing.T) {
	forgets := false
	l := newLeader(t, func(req *kmsg.FetchRequest, resp *kmsg.FetchResponse) {
		if resp.SessionID = 5; forgets && req.SessionEpoch != 0 {
			resp.SessionID, resp.ErrorCode = 0, int16(protocol.FetchSessionIDNotFound)
		}
	})
	c := connect(t, l.broker)
	r := &replication.ReplicaFetch{Positions: []replication.ReplicaPosition{position(0, 1)}}
	for range 2 {
		if _, err := c.Fetch(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		forgets = true // the server's goroutine reads it after this goroutine's next request
	}
	var last *kmsg.FetchRequest
	for range 3 {
		last = <-l.asked
	}
	if last.SessionEpoch != 0 || len(named(last)) != 1 {
		t.Errorf("after the session was lost: epoch %d, names %v", last.SessionEpoch, named(last))
	}
}

// Answers are matched to positions by partition, not by order, and error codes become errors of
// package replication.
func TestAnswersInReplicationsWords(t *testing.T) {
	l := newLeader(t, func(req *kmsg.FetchRequest, resp *kmsg.FetchResponse) {
		topic := kmsg.NewFetchResponseTopic()
		topic.TopicID = metadata.TopicID{1}
		for i, code := range []protocol.ErrorCode{protocol.None, protocol.OffsetOutOfRange, protocol.NotLeaderOrFollower, protocol.FencedLeaderEpoch, protocol.KafkaStorageError} {
			p := kmsg.NewFetchResponseTopicPartition()
			p.Partition, p.ErrorCode, p.HighWatermark, p.LogStartOffset = int32(i), int16(code), 8, 4
			if i == 0 {
				p.RecordBatches = []byte("batches")
				p.DivergingEpoch.Epoch, p.DivergingEpoch.EndOffset = 2, 6
			}
			topic.Partitions = append(topic.Partitions, p)
		}
		resp.Topics = append(resp.Topics, topic)
	})
	c := connect(t, l.broker)
	positions := make([]replication.ReplicaPosition, 5)
	for i := range positions { // not in the order of the answer
		positions[i] = position(int32(len(positions)-1-i), 1)
	}
	got, err := c.Fetch(t.Context(), &replication.ReplicaFetch{Positions: positions})
	if err != nil || len(got) != 5 {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range got {
		if got[i].At != 4-i {
			t.Errorf("the answer for partition %d is for position %d", i, got[i].At)
		}
	}
	if g := got[0]; g.Err != nil || g.HighWatermark != 8 || g.LogStart != 4 || string(g.Records) != "batches" || *g.Diverging != (replication.EpochEnd{Epoch: 2, EndOffset: 6}) {
		t.Errorf("%+v", g)
	}
	for i, want := range []error{replication.ErrOffsetOutOfRange, replication.ErrNotLeader, replication.ErrFencedLeaderEpoch} {
		if !errors.Is(got[i+1].Err, want) || got[i+1].LogStart != 4 || got[i+1].Diverging != nil {
			t.Errorf("%+v", got[i+1])
		}
	}
	if got[4].Err == nil {
		t.Error("an error that is not known was passed over")
	}
}

// A refused connection is ErrUnreachable; the context ends the wait for a silent leader.
func TestUnreachable(t *testing.T) {
	l := newLeader(t, nil)
	_ = l.Close()
	c := connect(t, l.broker)
	if _, err := c.Fetch(t.Context(), &replication.ReplicaFetch{}); !errors.Is(err, replication.ErrUnreachable) {
		t.Errorf("nobody listens: %v", err)
	}
	silent := newLeader(t, func(*kmsg.FetchRequest, *kmsg.FetchResponse) { <-t.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-silent.asked; cancel() }()
	if _, err := connect(t, silent.broker).Fetch(ctx, &replication.ReplicaFetch{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	slow, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := connect(t, silent.broker).Fetch(slow, &replication.ReplicaFetch{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("out of time: %v", err)
	}
}

// TestCancelAtAnyMoment cancels fetches at various moments during their answers. Each fetch either
// succeeds or reports the cancellation, and none breaks the next one.
func TestCancelAtAnyMoment(t *testing.T) {
	l := newLeader(t, func(*kmsg.FetchRequest, *kmsg.FetchResponse) {})
	go func() {
		for {
			select {
			case <-l.asked:
			case <-t.Context().Done():
				return
			}
		}
	}()
	c := connect(t, l.broker)
	for i := range 500 {
		ctx, cancel := context.WithCancel(t.Context())
		canceled := make(chan struct{})
		go func() {
			for range i { // at a different moment each time
				runtime.Gosched()
			}
			cancel()
			close(canceled)
		}()
		if _, err := c.Fetch(ctx, &replication.ReplicaFetch{}); err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("canceled: %v", err)
		}
		if _, err := c.Fetch(t.Context(), &replication.ReplicaFetch{}); err != nil {
			t.Fatalf("after a canceled one: %v", err)
		}
		<-canceled
	}
}
