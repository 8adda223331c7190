package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// mixed is a response of encoded bytes, foreign bytes and a stream.
type mixed struct {
	*kmsg.DescribeClusterResponse
	broken   error
	short    bool
	released *int
}

func (m mixed) Release() { *m.released++ }

func (m mixed) WriteResponse(w *responseWriter) error {
	w.Encode(func(b []byte) []byte { return append(b, "one "...) })
	w.Encode(func(b []byte) []byte { return append(b, "two "...) })
	w.Bytes([]byte("three "))
	w.Bytes(nil)
	text := "four "
	if m.short {
		text = "fou"
	}
	w.Stream(bytes.NewBufferString(text), 5)
	w.Encode(func(b []byte) []byte { return append(b, "five"...) })
	return m.broken
}

func TestResponsesOfPartsAreOneFrame(t *testing.T) {
	w := newResponseWriter()
	w.begin(protocol.RequestHeader{Key: 60, CorrelationID: 7}, true)
	if err := w.body(mixed{}); err != nil {
		t.Fatal(err)
	}
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	var sent bytes.Buffer
	if err := w.send(&sent); err != nil {
		t.Fatal(err)
	}
	if want := "\x00\x00\x00\x1c\x00\x00\x00\x07\x00one two three four five"; sent.String() != want {
		t.Errorf("%q, want %q", sent.String(), want)
	}
	if w.size != int64(sent.Len()) {
		t.Errorf("size %d of %d", w.size, sent.Len())
	}
	w.free()
	if len(w.buf)+len(w.parts) != 0 || w.size != 0 {
		t.Errorf("a pooled writer holds %+v", w)
	}
}

func TestStreamsThatWriteTooLittleEndTheConnection(t *testing.T) {
	for name, resp := range map[string]mixed{"broken layout": {broken: errors.New("no")}, "short stream": {short: true}, "fine": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, _ := newPlainBroker(t, nil)
				released := 0
				b.override(serve(0, 2, func(_ *Broker, _ context.Context, _ *Request, req *kmsg.DescribeClusterRequest) kmsg.Response {
					resp.DescribeClusterResponse, resp.released = req.ResponseKind().(*kmsg.DescribeClusterResponse), &released
					return resp
				}))
				r := serveOn(t, b)
				c := r.dial(t, "client:1")
				c.send(1, clusterRequest(0))
				if name == "fine" {
					if _, body, err := c.receive(); err != nil || string(body) != "\x00one two three four five" {
						t.Errorf("%q, %v", body, err)
					}
					_ = c.Close()
				} else if _, err := io.Copy(io.Discard, c); err != nil {
					t.Error(err)
				}
				r.finish(t, b)
				if released != 1 {
					t.Errorf("released %d times", released)
				}
			})
		})
	}
}

// TestUnsentResponsesAreReleased: a response that cannot be sent is released too.
func TestUnsentResponsesAreReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := newPlainBroker(t, nil)
		released := 0
		b.override(serve(0, 2, func(_ *Broker, ctx context.Context, _ *Request, req *kmsg.DescribeClusterRequest) kmsg.Response {
			<-ctx.Done()
			return mixed{DescribeClusterResponse: req.ResponseKind().(*kmsg.DescribeClusterResponse), released: &released}
		}))
		r := serveOn(t, b)
		c := r.dial(t, "client:1")
		c.send(1, clusterRequest(0))
		synctest.Wait()
		_ = c.Close()
		r.finish(t, b)
		if released != 1 {
			t.Errorf("released %d times", released)
		}
	})
}
