package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// process is one broker process and everything needed to start it again.
type process struct {
	bootstrap string
	dataDir   string
	args      []string
	binary    string   // "": varveBinary
	env       []string // in addition to the test's
	journal   string   // directory of crashfs's journal; "": the process runs without crashfs
	logDirs   []string // set if a test has to know them
	expected  []alarm  // alarms that the test causes

	cmd    *exec.Cmd
	pid    atomic.Int64 // of the latest process
	exited chan error   // receives once, when the process has ended
	log    *syncBuffer
}

var readyLine = regexp.MustCompile(`^varve .* ready: kafka (\S+),`)

// startBroker starts a broker on a free loopback port over an empty data directory, with additional
// flags. It stops the broker when the test ends.
func startBroker(t *testing.T, flags ...string) *process {
	t.Helper()
	p := &process{bootstrap: freeAddress(t), dataDir: filepath.Join(t.TempDir(), "data"), log: &syncBuffer{}}
	p.args = append([]string{
		"broker", "start",
		"--data-dir", p.dataDir, "--listen", p.bootstrap, "--http", "127.0.0.1:0",
		"--set", "log.retention.check.interval.ms=300", "--set", "remote.log.manager.task.interval.ms=300",
		"--set", "group.initial.rebalance.delay.ms=0",
	}, flags...)
	p.start(t)
	t.Cleanup(func() {
		p.stop(t, syscall.SIGTERM)
		if t.Failed() {
			t.Logf("broker log:\n%s", p.log)
		}
	})
	return p
}

// start runs the process and waits for its ready line.
func (p *process) start(t *testing.T) {
	t.Helper()
	p.startWith(t)
}

// startWith is start with additional flags for this process only.
func (p *process) startWith(t *testing.T, flags ...string) {
	t.Helper()
	ready := p.launch(t, flags...)
	select {
	case <-ready:
	case err := <-p.exited:
		p.exited <- err
		t.Fatalf("the broker ended before it was ready: %v\n%s", err, p.log)
	case <-time.After(60 * time.Second):
		t.Fatalf("the broker is not ready after a minute\n%s", p.log)
	}
}

// launch runs the process. The channel is closed when the broker is ready.
func (p *process) launch(t *testing.T, flags ...string) <-chan struct{} {
	t.Helper()
	p.cmd = p.command(flags...)
	p.cmd.Stderr = p.log
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err = p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.pid.Store(int64(p.cmd.Process.Pid))
	exited, ready := make(chan error, 1), make(chan struct{})
	p.exited = exited
	cmd := p.cmd
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			fmt.Fprintln(p.log, lines.Text())
			if readyLine.MatchString(lines.Text()) {
				close(ready)
				break
			}
		}
		_, _ = io.Copy(p.log, stdout)
		exited <- cmd.Wait()
	}()
	return ready
}

// stop sends the signal and waits for the end of the process. A second call does nothing.
func (p *process) stop(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if p.cmd == nil {
		return
	}
	p.checkAlarms(t)
	_ = p.cmd.Process.Signal(signal)
	select {
	case err := <-p.exited:
		if signal == syscall.SIGTERM && err != nil {
			t.Errorf("SIGTERM: the broker ended with %v", err)
		}
	case <-time.After(60 * time.Second):
		_ = p.cmd.Process.Kill()
		t.Errorf("the broker did not end a minute after %v", signal)
		_ = <-p.exited
	}
	p.cmd = nil
	if strings.Contains(p.log.String(), "DATA RACE") {
		t.Errorf("the broker reports a data race:\n%s", p.log)
	}
}

// kill9 ends the process as a crash does.
func (p *process) kill9(t *testing.T) {
	t.Helper()
	p.stop(t, syscall.SIGKILL)
}

// varve runs a user command against the broker and returns its output.
func (p *process) varve(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, varveBinary, args...)
	cmd.Env = append(os.Environ(), "VARVE_BOOTSTRAP="+p.bootstrap)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("varve %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

// tierRow is one partition in `varve tier status --output json`.
type tierRow struct {
	Partition   int32 `json:"partition"`
	LocalBytes  int64 `json:"local_bytes"`
	RemoteBytes int64 `json:"remote_bytes"`
	LogStart    int64 `json:"log_start"`
	LocalStart  int64 `json:"local_start"`
	RemoteEnd   int64 `json:"remote_end"`
	LagBytes    int64 `json:"lag_bytes"`
}

func (p *process) tier(t *testing.T, topic string) []tierRow {
	t.Helper()
	var rows []tierRow
	if err := json.Unmarshal([]byte(p.varve(t, "", "tier", "status", topic, "--output", "json")), &rows); err != nil {
		t.Fatal(err)
	}
	return rows
}

// freeAddress returns a loopback address on which nothing listens at the moment. Its port is below
// the range that systems use for outgoing connections, so none of those takes it while a broker
// that will return is down.
func freeAddress(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	for range 1000 {
		port := 10_000 + rand.IntN(22_000)
		if !claim(port) {
			continue
		}
		l, err := lc.Listen(t.Context(), "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
	t.Fatal("no port is free")
	return ""
}

// claimed are the ports that tests were given. Most of them are not in use yet when the next one is
// requested.
var claimed sync.Map

// claim claims a port. It returns false if a test already has it.
func claim(port int) bool {
	_, before := claimed.LoadOrStore(port, true)
	return !before
}

// eventually polls until the condition holds or the time is over.
func eventually(t *testing.T, within time.Duration, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %v: %s", within, what)
		case <-tick.C:
		}
	}
}

// syncBuffer collects a process's output. It may be read while it is written.
type syncBuffer struct {
	mu struct {
		sync.Mutex
		bytes.Buffer
	}
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.String()
}
