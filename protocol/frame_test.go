package protocol

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

const testMaxBytes = 100 << 20

func frame(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

// source delivers bytes without deadlines, in the pieces that the reader asks for.
type source struct{ io.Reader }

func (source) SetReadDeadline(time.Time) error { return nil }

func readerOf(p []byte, budget *Budget) *FrameReader {
	return NewFrameReader(source{bytes.NewReader(p)}, budget, FrameOptions{MaxBytes: testMaxBytes})
}

func TestFramesOfAllSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	var stream []byte
	bodies := make([][]byte, 0, 11)
	for _, n := range []int{1, 7, 4095, 4096, 4097, 65535, 65536, 65537, 1 << 18, 1<<20 + 3, 5 << 20} {
		body := make([]byte, n)
		for i := range body {
			body[i] = byte(r.Uint32())
		}
		bodies = append(bodies, body)
		stream = append(stream, frame(body)...)
	}
	budget := NewBudget(1 << 20) // smaller than the largest frame, which exceeds it
	frames := readerOf(stream, budget)
	for _, body := range bodies {
		f, err := frames.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(f.Bytes(), body) {
			t.Fatalf("frame of %d bytes differs", len(body))
		}
		if budget.Used() != int64(len(body)) {
			t.Fatalf("%d used for %d bytes", budget.Used(), len(body))
		}
		f.Release()
	}
	if _, err := frames.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatalf("at the end: %v", err)
	}
	if budget.Used() != 0 {
		t.Fatalf("%d used at the end", budget.Used())
	}
}

func TestBadFrameSizes(t *testing.T) {
	for name, head := range map[string][]byte{
		"zero":      {0, 0, 0, 0, 1},
		"negative":  {0xff, 0xff, 0xff, 0xff, 1},
		"2 GiB":     {0x7f, 0xff, 0xff, 0xff, 1},
		"one above": binary.BigEndian.AppendUint32(nil, testMaxBytes+1),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := readerOf(head, NewBudget(1)).Next(t.Context()); !errors.Is(err, ErrFrameSize) {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestTruncatedFrames(t *testing.T) {
	whole := frame(make([]byte, 200_000))
	for _, n := range []int{1, 3, 4, 5, 5000, 70_000, len(whole) - 1} {
		budget := NewBudget(1 << 20)
		if _, err := readerOf(whole[:n], budget).Next(t.Context()); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("cut after %d bytes: %v", n, err)
		}
		if budget.Used() != 0 {
			t.Fatalf("cut after %d bytes: %d used", n, budget.Used())
		}
	}
}

// The memory held for a sender must be at most four times what it has sent, and nothing before the
// first byte of a body.
func TestMemoryFollowsWhatArrived(t *testing.T) {
	for _, c := range []struct {
		sent int
		most int64
	}{{0, 0}, {1, firstChunkBytes}, {firstChunkBytes - 1, firstChunkBytes}, {1 << 20, 4<<20 + 1}, {5 << 20, 20 << 20}} {
		synctest.Test(t, func(t *testing.T) {
			client, server := net.Pipe()
			defer client.Close()
			budget := NewBudget(testMaxBytes)
			done := make(chan error)
			go func() {
				_, err := NewFrameReader(server, budget, FrameOptions{MaxBytes: testMaxBytes}).Next(t.Context())
				done <- err
			}()
			stream := binary.BigEndian.AppendUint32(nil, testMaxBytes)
			if _, err := client.Write(append(stream, make([]byte, c.sent)...)); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if used := budget.Used(); used > c.most {
				t.Errorf("%d bytes held for %d sent", used, c.sent)
			}
			_ = server.Close()
			_ = <-done
		})
	}
}

// Clients that announce large frames and send nothing must not cost the broker memory.
func TestAnnouncingConnectionsCostNothing(t *testing.T) {
	const clients = 200
	budget := NewBudget(256 << 20)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	done := make(chan error, clients)
	servers := make([]net.Conn, clients)
	for i := range clients {
		client, server := net.Pipe()
		servers[i] = server
		go func() {
			_, err := NewFrameReader(server, budget, FrameOptions{MaxBytes: testMaxBytes}).Next(t.Context())
			done <- err
		}()
		if _, err := client.Write(binary.BigEndian.AppendUint32(nil, testMaxBytes)); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > 8<<20 {
		t.Errorf("%d connections cost %d bytes", clients, grown)
	}
	for _, s := range servers {
		_ = s.Close()
	}
	for range clients {
		_ = <-done
	}
}

func TestIdleAndStalledSenders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		budget := NewBudget(1 << 20)
		frames := NewFrameReader(server, budget, FrameOptions{MaxBytes: testMaxBytes, Idle: time.Minute, Progress: time.Second})
		start := time.Now()
		if _, err := frames.Next(t.Context()); !errors.Is(err, ErrIdle) || time.Since(start) != time.Minute {
			t.Fatalf("%v after %s", err, time.Since(start))
		}
		go func() { _, _ = client.Write(frame([]byte("late"))) }()
		f, err := frames.Next(t.Context())
		if err != nil || string(f.Bytes()) != "late" {
			t.Fatalf("after an idle minute: %v", err)
		}
		f.Release()
		go func() { _, _ = client.Write(frame(make([]byte, 100))[:50]) }()
		start = time.Now()
		if _, err := frames.Next(t.Context()); !errors.Is(err, ErrStalled) || time.Since(start) != time.Second {
			t.Fatalf("%v after %s", err, time.Since(start))
		}
		if budget.Used() != 0 {
			t.Fatalf("%d used", budget.Used())
		}
	})
}

// A slow sender is not a stalled one: each MiB has a time limit of its own.
func TestSlowSendersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		sent := make(chan struct{})
		go func() {
			rest := frame(make([]byte, 8<<20))
			for len(rest) > 0 {
				n := min(len(rest), 1<<19)
				_, _ = client.Write(rest[:n])
				rest = rest[n:]
				<-time.After(400 * time.Millisecond)
			}
			close(sent)
		}()
		f, err := NewFrameReader(server, NewBudget(16<<20), FrameOptions{MaxBytes: testMaxBytes, Progress: time.Second}).Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f.Release()
		<-sent
	})
}

// A frame that waits too long for memory must give up and hold nothing afterward.
func TestFrameGivesUpWaitingForMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		budget := NewBudget(1 << 20)
		hog := budget.Lease(1 << 20)
		if err := hog.Grow(t.Context(), 1); err != nil { // takes the one place above the budget
			t.Fatal(err)
		}
		stream := source{bytes.NewReader(frame(make([]byte, 1<<20)))}
		frames := NewFrameReader(stream, budget, FrameOptions{MaxBytes: testMaxBytes, Progress: time.Second})
		if _, err := frames.Next(t.Context()); !errors.Is(err, ErrStalled) {
			t.Fatalf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		stream = source{bytes.NewReader(frame(make([]byte, 1<<20)))}
		if _, err := NewFrameReader(stream, budget, FrameOptions{MaxBytes: testMaxBytes}).Next(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		if budget.Used() != 1<<20+1 || budget.Waiting() != 0 {
			t.Fatalf("%d used, %d wait", budget.Used(), budget.Waiting())
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(frame([]byte("abc")))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Add(append(frame(make([]byte, 70_000)), 0, 0, 1))
	f.Fuzz(func(t *testing.T, stream []byte) {
		budget := NewBudget(1 << 20)
		frames := readerOf(stream, budget)
		read := 0
		for {
			fr, err := frames.Next(t.Context())
			if err != nil {
				break
			}
			read += 4 + len(fr.Bytes())
			fr.Release()
		}
		if read > len(stream) || budget.Used() != 0 {
			t.Fatalf("%d bytes read of %d, %d in use", read, len(stream), budget.Used())
		}
	})
}
