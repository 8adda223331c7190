package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

const guard = time.Minute

// start starts a shell and returns when it has written its first line.
func start(ctx context.Context, t *testing.T, script string) *process {
	t.Helper()
	p, err := startProcess(ctx, "shell", t.TempDir(), []string{"sh", "-c", script})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(0) })
	ctx, cancel := context.WithTimeout(ctx, guard)
	defer cancel()
	err = poll(ctx, time.Millisecond, func() (bool, error) {
		content, readErr := os.ReadFile(p.log)
		return strings.Contains(string(content), "\n"), readErr
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProcessIsStopped(t *testing.T) {
	for name, c := range map[string]struct {
		script, state string
		grace         time.Duration
	}{
		"by SIGTERM":              {"trap 'exit 3' TERM; echo ready; while :; do :; done", "exit status 3", guard},
		"by SIGKILL, if it stays": {"trap '' TERM; echo ready; while :; do :; done", "signal: killed", time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t.Context(), t, c.script)
			p.stop(c.grace)
			if got := p.cmd.ProcessState.String(); got != c.state {
				t.Errorf("it ended with %s, want %s", got, c.state)
			}
			p.stop(c.grace) // again: it has ended
		})
	}
}

func TestProcessEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := start(ctx, t, "trap '' TERM; echo ready; while :; do :; done")
	cancel()
	select {
	case <-p.done:
	case <-time.After(guard):
		t.Fatal("it runs on")
	}
}

// TestCPUStaysAfterTheEnd: a broker that a leg ends has used what it has used.
func TestCPUStaysAfterTheEnd(t *testing.T) {
	p := start(t.Context(), t, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; read never < /dev/zero")
	running, err := p.cpu()
	if err != nil {
		t.Skipf("the CPU time of a process cannot be read here: %v", err)
	}
	p.stop(guard)
	ended, err := p.cpu()
	if err != nil || ended <= 0 || ended+tick < running {
		t.Errorf("%v at the end, %v, after %v while it ran", ended, err, running)
	}
}

// TestFailureShowsTheReason: it stands above what a broker writes while it stops.
func TestFailureShowsTheReason(t *testing.T) {
	p := start(t.Context(), t, "echo ERROR the port is taken; "+
		"i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo stopping $i; done; exit 7")
	<-p.done
	text := p.failure().Error()
	for _, want := range []string{"exit status 7", "ERROR the port is taken", "stopping 50"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %q in: %s", want, text)
		}
	}
	if strings.Contains(text, "stopping 20") {
		t.Errorf("it is too long: %s", text)
	}
}

func TestProcessThatDoesNotStart(t *testing.T) {
	if _, err := startProcess(t.Context(), "nothing", t.TempDir(), []string{"/does/not/exist"}); err == nil {
		t.Error("there is no error")
	}
}
