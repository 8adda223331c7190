package protocol

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// ErrFrameSize reports a frame whose announced size is not between 1 and the limit.
var ErrFrameSize = errors.New("invalid frame size")

// ErrIdle reports a connection on which no byte arrived for the idle time.
var ErrIdle = errors.New("connection idle")

// ErrStalled reports a frame that began to arrive and then made too little progress.
var ErrStalled = errors.New("frame stalled")

// Source is the reading half of a net.Conn, from which frames are read.
type Source interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// FrameOptions are the limits of a FrameReader.
type FrameOptions struct {
	MaxBytes int32         // largest frame (socket.request.max.bytes)
	Idle     time.Duration // longest wait for the first byte of a frame; 0: no limit
	// Progress bounds the time of each MiB of a frame that has begun, and of each of the frame's
	// waits for the budget. 0 means no limit.
	Progress time.Duration
}

// FrameReader reads frames from one connection, one at a time. Only one goroutine may use it.
type FrameReader struct {
	src    Source
	r      *bufio.Reader
	budget *Budget
	opts   FrameOptions
	proven int // largest frame that has arrived in full, up to provenBytes
}

// NewFrameReader returns a reader that leases from budget.
func NewFrameReader(src Source, budget *Budget, opts FrameOptions) *FrameReader {
	return &FrameReader{src: src, r: bufio.NewReaderSize(src, readBufferBytes), budget: budget, opts: opts}
}

const (
	readBufferBytes = 4 << 10
	// firstChunkBytes is leased without a wait for the budget once a frame has begun to arrive. A
	// larger frame grows fourfold each time it has filled its buffer.
	firstChunkBytes = 64 << 10
	growth          = 4
	// provenBytes bounds the buffer that a frame gets at once because earlier frames of the
	// connection were as large. Growing copies, and a steady producer need not pay for that in each
	// request.
	provenBytes = 1 << 20
	// progressBytes is the number of bytes that must arrive within FrameOptions.Progress: a request
	// that holds memory must use it.
	progressBytes = 1 << 20
)

// Next reads one frame. It returns io.EOF if the connection ended between two frames. It returns
// ErrIdle if nothing arrived in the idle time; Next may then be called again. Any other error
// leaves the connection unusable. To stop a Next from another goroutine, set a past read deadline
// or close the connection: ctx ends only a wait for the budget, not a read.
func (f *FrameReader) Next(ctx context.Context) (*Frame, error) {
	if err := f.deadline(f.opts.Idle); err != nil {
		return nil, err
	}
	if _, err := f.r.Peek(1); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil, ErrIdle
		}
		return nil, err
	}
	if !f.buffered() {
		if err := f.deadline(f.opts.Progress); err != nil {
			return nil, err
		}
	}
	var head [4]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return nil, frameError(err, 0, len(head))
	}
	size := int32(binary.BigEndian.Uint32(head[:]))
	if size <= 0 || size > f.opts.MaxBytes {
		return nil, fmt.Errorf("frame of %d bytes, allowed are 1 to %d: %w", size, f.opts.MaxBytes, ErrFrameSize)
	}
	// A frame is charged nothing until a byte of its body arrives.
	if _, err := f.r.Peek(1); err != nil {
		return nil, frameError(err, 0, int(size))
	}
	first := min(int(size), firstChunkBytes)
	fr := &Frame{buf: getBuffer(first), lease: f.budget.Lease(int64(first))}
	if err := f.fill(ctx, fr, int(size)); err != nil {
		fr.Release()
		return nil, err
	}
	f.proven = min(max(f.proven, int(size)), provenBytes)
	return fr, nil
}

// buffered reports whether the whole next frame has arrived, so that reading it cannot wait. That
// is the case for most small requests.
func (f *FrameReader) buffered() bool {
	have := f.r.Buffered()
	if have < 4 {
		return false
	}
	head, err := f.r.Peek(4)
	return err == nil && int64(have) >= 4+int64(binary.BigEndian.Uint32(head))
}

func (f *FrameReader) fill(ctx context.Context, fr *Frame, size int) error {
	have := 0
	if trusted := min(size, f.proven); trusted > len(*fr.buf) {
		if err := f.grow(ctx, fr, trusted, have); err != nil {
			return frameError(err, have, size)
		}
	}
	for {
		part := (*fr.buf)[have:]
		n, err := io.ReadFull(f.r, part[:min(len(part), progressBytes)])
		have += n
		if err == nil && have < size {
			if have == len(*fr.buf) {
				err = f.grow(ctx, fr, min(size, have*growth), have)
			}
			if err == nil {
				err = f.deadline(f.opts.Progress) // the wait for memory was not the sender's
			}
		}
		if err != nil {
			return frameError(err, have, size)
		}
		if have == size {
			return nil
		}
	}
}

// grow moves the frame to a buffer of n bytes, the first have of which are copied from the old one.
// On an error the frame keeps its old buffer.
func (f *FrameReader) grow(ctx context.Context, fr *Frame, n, have int) error {
	old := fr.buf
	if f.opts.Progress > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, f.opts.Progress, ErrStalled)
		defer cancel()
	}
	if err := fr.lease.Grow(ctx, int64(n-len(*old))); err != nil {
		return err
	}
	fr.buf = getBuffer(n)
	copy(*fr.buf, (*old)[:have])
	putBuffer(old)
	return nil
}

func (f *FrameReader) deadline(d time.Duration) error {
	var at time.Time
	if d > 0 {
		at = time.Now().Add(d)
	}
	if err := f.src.SetReadDeadline(at); err != nil {
		return fmt.Errorf("set read deadline: %w", err)
	}
	return nil
}

func frameError(err error, have, size int) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = ErrStalled
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read frame, %d of %d bytes arrived: %w", have, size, err)
}

// Frame is one request in memory.
type Frame struct {
	buf   *[]byte
	lease *Lease
}

// Bytes is the frame without its length field, valid until Release.
func (fr *Frame) Bytes() []byte { return *fr.buf }

// Charge adds n bytes that the frame's request costs elsewhere to its share, without waiting for
// them.
func (fr *Frame) Charge(n int) { fr.lease.Take(int64(n)) }

// Release returns the buffer and the share of the budget. Nothing may refer to Bytes any more. The
// caller must call it only once.
func (fr *Frame) Release() {
	putBuffer(fr.buf)
	fr.lease.Release()
}

// Discard returns the share of the budget and leaves the buffer to the garbage collector. It is for
// a request whose parts stay referenced.
func (fr *Frame) Discard() { fr.lease.Release() }

// buffers are pools by capacity: 4 KiB, 16 KiB … 4 MiB, one class for each growth step of a frame.
// Larger buffers are not pooled.
var buffers [6]sync.Pool

func bufferClass(n int) (class, capacity int) {
	capacity = 4 << 10
	for class = range buffers {
		if n <= capacity {
			return class, capacity
		}
		capacity *= growth
	}
	return -1, n
}

func getBuffer(n int) *[]byte {
	class, capacity := bufferClass(n)
	if class >= 0 {
		if p, ok := buffers[class].Get().(*[]byte); ok {
			*p = (*p)[:n]
			return p
		}
	}
	b := make([]byte, n, capacity)
	return &b
}

func putBuffer(p *[]byte) {
	if class, capacity := bufferClass(cap(*p)); class >= 0 && capacity == cap(*p) {
		buffers[class].Put(p)
	}
}
