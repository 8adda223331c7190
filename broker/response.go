package broker

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

// streamedResponse is a response that encodes itself, because parts of it never enter this
// process's memory.
type streamedResponse interface {
	kmsg.Response
	// WriteResponse lays out the body (no header, no length) in w. An error ends the connection.
	WriteResponse(w *responseWriter) error
}

// releasedResponse is a response that holds resources until it is written. Release is called
// exactly once, whether the response was written or not.
type releasedResponse interface{ Release() }

// responseWriter lays out one response: encoded bytes, with foreign bytes and whole streams in
// between. Nothing is sent before the layout is complete, since a frame begins with its length.
type responseWriter struct {
	buf   []byte // all encoded bytes
	parts []responsePart
	from  int   // start in buf of the bytes that no part covers yet
	size  int64 // of all parts
}

// responsePart is one of: a range of buf, foreign bytes, a stream of size bytes.
type responsePart struct {
	from, to int
	bytes    []byte
	stream   io.WriterTo
	size     int64
}

// Encode appends to the buffer by calling f with it.
func (w *responseWriter) Encode(f func(dst []byte) []byte) { w.buf = f(w.buf) }

// Bytes adds p without copying it. p must not change until the response's Release.
func (w *responseWriter) Bytes(p []byte) {
	if len(p) > 0 {
		w.add(responsePart{bytes: p, size: int64(len(p))})
	}
}

// Stream adds n bytes that s will write, exactly n, straight to the connection. Its WriteTo gets
// the *net.TCPConn on a plain connection, so that it can use sendfile.
func (w *responseWriter) Stream(s io.WriterTo, n int64) {
	if n > 0 {
		w.add(responsePart{stream: s, size: n})
	}
}

func (w *responseWriter) add(p responsePart) {
	w.seal()
	w.parts = append(w.parts, p)
	w.size += p.size
}

func (w *responseWriter) seal() {
	if n := len(w.buf) - w.from; n > 0 {
		w.parts = append(w.parts, responsePart{from: w.from, to: len(w.buf), size: int64(n)})
		w.size += int64(n)
		w.from = len(w.buf)
	}
}

// begin reserves the frame's length and encodes the header.
func (w *responseWriter) begin(h protocol.RequestHeader, flexible bool) {
	w.buf = protocol.AppendResponseHeader(append(w.buf, 0, 0, 0, 0), h.Key, h.CorrelationID, flexible)
}

// body lays out resp.
func (w *responseWriter) body(resp kmsg.Response) error {
	if s, ok := resp.(streamedResponse); ok {
		return s.WriteResponse(w)
	}
	w.buf = resp.AppendTo(w.buf)
	return nil
}

// finish writes the length into its place. From then on size includes it.
func (w *responseWriter) finish() error {
	w.seal()
	n := w.size - 4
	if n > math.MaxInt32 {
		return fmt.Errorf("encode response of %d bytes: larger than a frame can be", n)
	}
	binary.BigEndian.PutUint32(w.buf, uint32(n))
	return nil
}

// send writes the frame: neighboring bytes in one system call, streams by themselves. Under TLS
// each write is a record, so small parts are first combined in a buffer.
func (w *responseWriter) send(conn io.Writer) error {
	if len(w.parts) == 1 && w.parts[0].to > 0 { // most responses are one encoded part
		_, err := conn.Write(w.buf)
		return err
	}
	if secure, ok := conn.(*tls.Conn); ok {
		together := tlsWriters.Get().(*bufio.Writer)
		together.Reset(secure)
		defer func() { together.Reset(nil); tlsWriters.Put(together) }()
		if err := w.sendParts(together); err != nil {
			return err
		}
		return together.Flush()
	}
	return w.sendParts(conn)
}

// tlsWriters combine parts that are smaller than a record.
var tlsWriters = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, maxRecord) }}

// maxRecord is the size of a full TLS record.
const maxRecord = 16 << 10

func (w *responseWriter) sendParts(conn io.Writer) error {
	var pending net.Buffers
	flush := func() error {
		if len(pending) == 0 {
			return nil
		}
		buffers := pending // WriteTo consumes it
		_, err := buffers.WriteTo(conn)
		clear(pending)
		pending = pending[:0]
		return err
	}
	for _, p := range w.parts {
		switch {
		case p.bytes != nil:
			pending = append(pending, p.bytes)
		case p.stream == nil:
			pending = append(pending, w.buf[p.from:p.to])
		default:
			if err := flush(); err != nil {
				return err
			}
			n, err := p.stream.WriteTo(conn)
			if err != nil {
				return err
			}
			if n != p.size {
				return fmt.Errorf("stream wrote %d bytes of %d", n, p.size)
			}
		}
	}
	return flush()
}

// maxKeptResponse bounds the buffers that are kept in the pool.
const maxKeptResponse = 1 << 20

var responseWriters = sync.Pool{New: func() any { return new(responseWriter) }}

func newResponseWriter() *responseWriter { return responseWriters.Get().(*responseWriter) }

// free returns w to its pool, without references to anything else.
func (w *responseWriter) free() {
	if cap(w.buf) > maxKeptResponse {
		return
	}
	clear(w.parts)
	*w = responseWriter{buf: w.buf[:0], parts: w.parts[:0]}
	responseWriters.Put(w)
}
