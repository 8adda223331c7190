package interbroker

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/replication"
)

var someFetch = replication.ReplicaFetch{
	Replica: metadata.Member{Broker: 2, Epoch: 9}, MaxWait: time.Hour, Positions: []replication.ReplicaPosition{position(0, 1)},
}

// keepsSession answers with a session.
func keepsSession(_ *kmsg.FetchRequest, resp *kmsg.FetchResponse) { resp.SessionID = 5 }

// A fetch waits at the leader until the next request arrives, and Hurry sends that request. The
// connection and its session survive.
func TestHurryEndsTheWait(t *testing.T) {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	waits, hurried, asked := make(chan struct{}), make(chan struct{}), make(chan *kmsg.FetchRequest, 10)
	var wg sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); wg.Wait() })
	wg.Go(func() {
		conn, acceptErr := ln.Accept()
		if acceptErr != nil {
			return
		}
		defer conn.Close()
		for range 2 { // a fetch that waits, and the request that ends the wait
			first := readFetch(conn, asked)
			waits <- struct{}{}
			second := readFetch(conn, asked)
			<-hurried
			answerFetch(conn, first)
			answerFetch(conn, second)
		}
		answerFetch(conn, readFetch(conn, asked))
		_, _ = io.Copy(io.Discard, conn)
	})
	at := ln.Addr().(*net.TCPAddr)
	c := connect(t, metadata.Broker{ID: 7, Listeners: []metadata.Listener{{Name: listener, Host: "127.0.0.1", Port: int32(at.Port)}}})
	for i := range 2 {
		wg.Go(func() {
			<-waits
			c.Hurry()
			c.Hurry() // the same as one call
			hurried <- struct{}{}
		})
		if _, err = c.Fetch(t.Context(), &someFetch); err != nil {
			t.Fatal(err)
		}
		fetch, nudge := <-asked, <-asked
		if fetch.SessionEpoch != int32(i) || fetch.MaxWaitMillis != 3_600_000 {
			t.Errorf("fetch %d: session epoch %d, waits %d ms", i, fetch.SessionEpoch, fetch.MaxWaitMillis)
		}
		if nudge.SessionEpoch != -1 || nudge.SessionID != 0 || nudge.ReplicaState.ID != 2 || len(nudge.Topics) > 0 {
			t.Errorf("the wait is ended by %+v", nudge)
		}
	}
	c.Hurry()
	if _, err = c.Fetch(t.Context(), &someFetch); err != nil {
		t.Fatal(err)
	}
	if fetch := <-asked; fetch.MaxWaitMillis != 0 || fetch.SessionEpoch != 2 {
		t.Errorf("a fetch that must not wait asks for %d ms, in session epoch %d", fetch.MaxWaitMillis, fetch.SessionEpoch)
	}
}

type askedFetch struct {
	*kmsg.FetchRequest
	id int32
}

func readFetch(conn net.Conn, asked chan<- *kmsg.FetchRequest) askedFetch {
	var size [4]byte
	_, _ = io.ReadFull(conn, size[:])
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, _ = io.ReadFull(conn, frame)
	header, body, _ := protocol.ParseRequestHeader(frame)
	req := kmsg.NewPtrFetchRequest()
	req.Version = header.Version
	_ = req.ReadFrom(body) // a damaged request fails the test's comparisons
	asked <- req
	return askedFetch{req, header.CorrelationID}
}

func answerFetch(conn net.Conn, asked askedFetch) {
	resp := asked.ResponseKind().(*kmsg.FetchResponse)
	if asked.SessionEpoch >= 0 {
		resp.SessionID = 5
	}
	out := resp.AppendTo(protocol.AppendResponseHeader(make([]byte, 4), 1, asked.id, true))
	binary.BigEndian.PutUint32(out, uint32(len(out)-4))
	_, _ = conn.Write(out)
}

// A connection that is closed in order ends with a fetch that names no replica. A connection that
// broke off ends without one.
func TestCloseTakesLeave(t *testing.T) {
	l := newLeader(t, keepsSession)
	c := Dialer{Listener: listener}.Dial(l.broker)
	if _, err := c.Fetch(t.Context(), &someFetch); err != nil {
		t.Fatal(err)
	}
	<-l.asked
	c.Close()
	last := <-l.asked
	if last.ReplicaState.ID != -1 || last.SessionID != 5 || last.SessionEpoch != -1 || len(last.Topics) > 0 {
		t.Errorf("the last request: %+v", last)
	}
	c.Close() // no connection is left to announce the end on
	ends, err := Dialer{Listener: listener}.EndOffsets(t.Context(), answerOnce(t, func(*kmsg.ListOffsetsRequest, *kmsg.ListOffsetsResponse) {}), nil)
	if err != nil || len(ends) > 0 {
		t.Errorf("end offsets: %v, %v", ends, err)
	}
}
