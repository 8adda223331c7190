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

// ErrFrameSize is a frame whose announced size is not between 1 and the limit.
var ErrFrameSize = errors.New("invalid frame size")

// ErrIdle is a connection on which nothing came for the idle time.
var ErrIdle = errors.New("connection idle")

// ErrStalled is a frame that was begun and then came too slowly.
var ErrStalled = errors.New("frame stalled")

// Source is what frames are read from: the reading half of a net.Conn.
type Source interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// FrameOptions are the limits of a FrameReader.
type FrameOptions struct {
	MaxBytes int32         // largest frame (socket.request.max.bytes)
	Idle     time.Duration // how long to wait for the first byte of a frame; 0: for ever
	Progress time.Duration // how long each MiB of a frame that has begun may take, and each of its waits for the budget; 0: for ever
}

// FrameReader reads frames from one connection, one at a time, by one goroutine.
type FrameReader struct {
	src    Source
	r      *bufio.Reader
	budget *Budget
	opts   FrameOptions
	proven int // the largest frame that has arrived in full, up to provenBytes
}

// NewFrameReader returns a reader that leases from budget.
func NewFrameReader(src Source, budget *Budget, opts FrameOptions) *FrameReader {
	return &FrameReader{src: src, r: bufio.NewReaderSize(src, readBufferBytes), budget: budget, opts: opts}
}

const (
	readBufferBytes = 4 << 10
	// firstChunkBytes is what a frame gets without waiting for the budget, once it has begun to arrive. Larger frames grow fourfold from
	// here each time they fill what they have.
	firstChunkBytes = 64 << 10
	growth          = 4
	// provenBytes bounds the buffer that a connection is trusted with at once because its frames have been as large before: growing
	// copies, which a steady producer need not pay for each of its requests.
	provenBytes = 1 << 20
	// progressBytes is what must arrive within FrameOptions.Progress: whoever holds memory must use it.
	progressBytes = 1 << 20
)

// Next reads one frame. io.EOF is a connection that ended between two frames; ErrIdle one on which nothing came, after which Next may be
// called again; any other error leaves the connection unusable. To stop a Next from elsewhere, set a past read deadline or close the
// connection (ctx alone ends a wait for the budget, not a read).
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
	// A frame without a byte of its body costs nothing at all.
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

// buffered says that the next frame has arrived as a whole, so that nothing will be waited for: most small requests have.
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
				err = f.deadline(f.opts.Progress) // a wait for memory was ours, not the sender's
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

// grow gives the frame a buffer of n bytes that begins with the first have of the old one.
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

// Bytes is the frame without its length, valid until Release.
func (fr *Frame) Bytes() []byte { return *fr.buf }

// Charge counts n further bytes that the frame's request costs, without waiting for them.
func (fr *Frame) Charge(n int) { fr.lease.Take(int64(n)) }

// Release gives the buffer and the share of the budget back. Nothing may refer to Bytes any more. Release is called once.
func (fr *Frame) Release() {
	putBuffer(fr.buf)
	fr.lease.Release()
}

// Discard gives the share of the budget back and leaves the buffer to the garbage collector, for a request parts of which live on.
func (fr *Frame) Discard() { fr.lease.Release() }

// buffers are pooled by capacity: 4 KiB, 16 KiB … 4 MiB, one class for each growth of a frame. Larger ones are not kept.
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
