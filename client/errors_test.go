package client

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestNoBrokerSaysWhatToDo(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, err = connect(t, addr).Topics(t.Context())
	want := "no broker at " + addr + ": start one with \"varve broker start\", or name another with --bootstrap HOST:PORT"
	if err == nil || err.Error() != want || !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got  %v\nwant %s, and the cause", err, want)
	}
}

// TestSilenceEndsAtTheTimeout: a peer that accepts and sends nothing costs no more than the
// timeout, though kgo ignores the context while it greets a broker.
func TestSilenceEndsAtTheTimeout(t *testing.T) {
	addr := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	c, err := Open(Options{Bootstrap: []string{addr}, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	start := time.Now()
	_, err = c.Topics(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "no answer from "+addr+" within 300ms") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 9*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestOtherProtocolsAreNamed(t *testing.T) {
	addr := serve(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 1))
		_, _ = io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
		_, _ = io.Copy(io.Discard, conn)
	})
	_, err := connect(t, addr).Topics(t.Context())
	if err == nil || !strings.Contains(err.Error(), addr+" answers something other than Kafka") {
		t.Errorf("got %v", err)
	}
}

func TestCancelIsNotATimeout(t *testing.T) {
	addr := serve(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := connect(t, addr).Topics(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestBrokersMessageComesFirst: the broker's message takes precedence over the text for its code.
func TestBrokersMessageComesFirst(t *testing.T) {
	answer := func(code int16, message *string) func(kmsg.Request) kmsg.Response {
		return func(r kmsg.Request) kmsg.Response {
			request, ok := r.(*kmsg.CreateTopicsRequest)
			if !ok {
				return nil
			}
			response := kmsg.NewPtrCreateTopicsResponse()
			for _, asked := range request.Topics {
				topic := kmsg.NewCreateTopicsResponseTopic()
				topic.Topic, topic.ErrorCode, topic.ErrorMessage, topic.NumPartitions = asked.Topic, code, message, 3
				response.Topics = append(response.Topics, topic)
			}
			return response
		}
	}
	message := "Invalid value x for configuration segment.bytes"
	for _, c := range []struct {
		code    int16
		message *string
		want    string
	}{
		{40, &message, "topic t: " + message},
		{36, nil, "topic t: it exists already"},
		{38, nil, "topic t: the replication factor is larger than the number of brokers, or not positive"},
	} {
		f := newFakeBroker(t, nil, answer(c.code, c.message))
		_, err := connect(t, f.addr).CreateTopic(t.Context(), NewTopic{Name: "t", Partitions: 1, ReplicationFactor: 1})
		if err == nil || err.Error() != c.want || !errors.Is(err, kerr.ErrorForCode(c.code)) {
			t.Errorf("code %d: got %v, want %s", c.code, err, c.want)
		}
	}
	f := newFakeBroker(t, nil, answer(0, nil))
	n, err := connect(t, f.addr).CreateTopic(t.Context(), NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1})
	if err != nil || n != 3 {
		t.Errorf("%d partitions, %v", n, err)
	}
}

func TestExplainKeepsOneLine(t *testing.T) {
	c := connect(t, "127.0.0.1:1")
	if c.Explain(nil) != nil {
		t.Error("nil becomes an error")
	}
	cause := errors.New("one\r\ntwo\nthree")
	if err := c.Explain(cause); err.Error() != "one; two; three" || !errors.Is(err, cause) {
		t.Errorf("got %q", err)
	}
	for _, err := range []error{kerr.UnknownTopicOrPartition, kerr.MessageTooLarge, kerr.InvalidTxnState, context.DeadlineExceeded, io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET} {
		explained := c.Explain(err)
		if !errors.Is(explained, err) || explained.Error() == err.Error() || strings.Contains(explained.Error(), "\n") {
			t.Errorf("%v becomes %q", err, explained)
		}
		if again := c.Explain(explained); again.Error() != explained.Error() {
			t.Errorf("explained twice: %q", again)
		}
	}
}
