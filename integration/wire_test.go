package integration

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// wire is one connection to a broker on which a test controls the content of each request. Requests
// are pipelined: send does not wait for the answer. Only one goroutine may call send and close.
type wire struct {
	conn      net.Conn
	formatter *kmsg.RequestFormatter
	asked     chan asked // in the order of the requests
	reading   sync.WaitGroup
	sent      int32
}

// asked is a request that waits for its answer.
type asked struct {
	id       int32
	request  kmsg.Request
	answered func(kmsg.Response, error)
}

// dialWire connects. At most inFlight requests wait for an answer at a time. The connection breaks
// when ctx ends.
func dialWire(ctx context.Context, address string, inFlight int) (*wire, error) {
	conn, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	w := &wire{conn: conn, formatter: kmsg.NewRequestFormatter(kmsg.FormatterClientID("wire")), asked: make(chan asked, inFlight)}
	unhook := context.AfterFunc(ctx, func() { _ = conn.Close() })
	w.reading.Go(func() { defer unhook(); w.read() })
	return w, nil
}

// send writes a request. answered is called once, on another goroutine, with the answer or with the
// error that ended the connection. send blocks while too many requests wait for an answer.
func (w *wire) send(request kmsg.Request, answered func(kmsg.Response, error)) error {
	w.sent++
	frame := w.formatter.AppendRequest(nil, request, w.sent)
	w.asked <- asked{w.sent, request, answered}
	_, err := w.conn.Write(frame)
	return err
}

// close waits for the answers to all requests, at most for the given time, and closes the
// connection.
func (w *wire) close(within time.Duration) {
	// A connection that has broken has no deadline to set.
	_ = w.conn.SetReadDeadline(time.Now().Add(within))
	close(w.asked)
	w.reading.Wait()
	_ = w.conn.Close()
}

// read passes on answers until the connection breaks. Then all outstanding requests fail.
func (w *wire) read() {
	var broken error
	for a := range w.asked {
		var response kmsg.Response
		if broken == nil {
			if response, broken = w.readOne(a); broken != nil {
				_ = w.conn.Close()
			}
		}
		a.answered(response, broken)
	}
}

func (w *wire) readOne(a asked) (kmsg.Response, error) {
	var head [8]byte
	if _, err := io.ReadFull(w.conn, head[:]); err != nil {
		return nil, err
	}
	size, id := binary.BigEndian.Uint32(head[:4]), binary.BigEndian.Uint32(head[4:])
	if int32(id) != a.id || size < 4 || size > 64<<20 {
		return nil, fmt.Errorf("an answer of %d bytes to request %d, want that to %d", size, id, a.id)
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(w.conn, body); err != nil {
		return nil, err
	}
	response := a.request.ResponseKind()
	if response.IsFlexible() {
		if len(body) == 0 || body[0] != 0 {
			return nil, errors.New("the answer's header has tags, or no end")
		}
		body = body[1:]
	}
	return response, response.ReadFrom(body)
}
