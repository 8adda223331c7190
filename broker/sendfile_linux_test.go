package broker

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// tcpPair returns the two ends of one TCP connection over loopback.
func tcpPair(t *testing.T) (server, client *net.TCPConn) {
	t.Helper()
	var lc net.ListenConfig
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	var d net.Dialer
	dialed, err := d.DialContext(t.Context(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = dialed.Close(), accepted.Close() })
	return accepted.(*net.TCPConn), dialed.(*net.TCPConn)
}

// patterned returns a file of n bytes in which every position is distinguishable.
func patterned(t *testing.T, n int) (*os.File, []byte) {
	t.Helper()
	content := make([]byte, n)
	for i := range content {
		content[i] = byte(i ^ i>>8 ^ i>>16)
	}
	name := filepath.Join(t.TempDir(), "00000000000000000000.log")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, content
}

func TestSendfileSendsTheRange(t *testing.T) {
	server, client := tcpPair(t)
	f, content := patterned(t, 24<<20) // more than both socket buffers hold
	for _, r := range []struct{ pos, n int64 }{{0, 1}, {4095, 2}, {12345, 100_000}, {1, 24<<20 - 1}} {
		result := make(chan error, 1)
		go func() {
			sent, handled, err := sendfile(server, f, r.pos, r.n)
			if err == nil && (!handled || sent != r.n) {
				err = errors.New("not all was sent")
			}
			result <- err
		}()
		got := make([]byte, r.n)
		if _, err := io.ReadFull(client, got); err != nil {
			t.Fatal(err)
		}
		if err := <-result; err != nil {
			t.Fatalf("%d bytes from %d: %v", r.n, r.pos, err)
		}
		if !bytes.Equal(got, content[r.pos:r.pos+r.n]) {
			t.Errorf("%d bytes from %d came out wrong", r.n, r.pos)
		}
	}
	if at, err := f.Seek(0, io.SeekCurrent); err != nil || at != 0 {
		t.Errorf("the shared file's position moved to %d (%v)", at, err)
	}
}

func TestSendfileEndsWithTheDeadline(t *testing.T) {
	server, _ := tcpPair(t)
	f, _ := patterned(t, 24<<20)
	if err := server.SetWriteDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, handled, err := sendfile(server, f, 0, 24<<20); !handled || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("to a client that does not read: handled %v, %v", handled, err)
	}
}

func TestSendfileTellsAShortFile(t *testing.T) {
	server, _ := tcpPair(t)
	f, _ := patterned(t, 1000)
	if sent, handled, err := sendfile(server, f, 500, 1000); sent != 500 || !handled || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("sent %d, handled %v, %v", sent, handled, err)
	}
}

func TestSendfileLeavesOtherConnectionsAlone(t *testing.T) {
	f, _ := patterned(t, 1000)
	if sent, handled, err := sendfile(io.Discard, f, 0, 1000); sent != 0 || handled || err != nil {
		t.Errorf("sent %d, handled %v, %v", sent, handled, err)
	}
	server, _ := tcpPair(t)
	if sent, handled, err := sendfile(server, nil, 0, 1000); sent != 0 || handled || err != nil {
		t.Errorf("without a file: sent %d, handled %v, %v", sent, handled, err)
	}
}
