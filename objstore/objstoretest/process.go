package objstoretest

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// startServer starts the process and waits until a server answers at the endpoint. The channel
// receives once, when the process has ended. If startServer fails, the process has already ended.
func startServer(ctx context.Context, cmd *exec.Cmd, endpoint string) (*exec.Cmd, chan error, error) {
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()

	const patience = time.Minute
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-exited:
			return nil, nil, fmt.Errorf("the process ended: %w", errors.Join(err, errors.New("see its output")))
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			_ = <-exited
			return nil, nil, fmt.Errorf("no answer within %v", patience)
		case <-tick.C:
		}
		if answers(ctx, endpoint) {
			return cmd, exited, nil
		}
	}
}

// answers reports whether an HTTP server answers. A refusal of access counts as an answer.
func answers(ctx context.Context, endpoint string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/", http.NoBody)
	if err != nil {
		return false
	}
	// The tests verify the server's identity themselves.
	insecure := &tls.Config{InsecureSkipVerify: true}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: insecure}}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil
}

// freeAddress returns a loopback address on which nothing listens at the moment.
func freeAddress(t testing.TB) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// lockedBuffer collects a process's output. It may be read while it is written.
type lockedBuffer struct {
	mu struct {
		sync.Mutex
		bytes.Buffer
	}
}

// Write implements io.Writer.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.Write(p)
}

// String returns the output so far.
func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.String()
}
