package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

// stopGrace is the time that a broker has to end after SIGTERM. Its data is removed anyway.
const stopGrace = 10 * time.Second

// process is a broker's process. Ctrl-C does not reach it, but this tool, which then stops it.
type process struct {
	name string
	cmd  *exec.Cmd
	log  string        // the file that its output goes to
	done chan struct{} // closed after the process has ended and was waited for
}

// startProcess starts a command in a directory that exists. The process is killed when ctx ends.
func startProcess(ctx context.Context, name, dir string, command []string) (*process, error) {
	p := &process{name: name, log: filepath.Join(dir, "output.log"), done: make(chan struct{})}
	log, err := os.Create(p.log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the process has a descriptor of its own
	p.cmd = exec.CommandContext(ctx, command[0], command[1:]...)
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	bind(p.cmd)
	started := make(chan error)
	go func() {
		defer close(p.done)
		// The kernel ends the process with the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		startErr := p.cmd.Start()
		started <- startErr
		if startErr == nil {
			_ = p.cmd.Wait() // failure reports how it ended
		}
	}()
	if err = <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// failure describes how a process ended that should not have. What went wrong may stand far above
// the end of its log.
func (p *process) failure() error {
	output, err := os.ReadFile(p.log)
	if err != nil {
		output = []byte(err.Error())
	}
	return fmt.Errorf("%s ended with %s; from its log:\n%s", p.name, p.cmd.ProcessState, excerpt(output))
}

var failing = regexp.MustCompile(`(?m)^.*(\bERROR\b|\bFATAL\b|Exception|[Pp]anic|\bfatal\b).*$`)

// excerpt returns the first lines of a log that say of an error, and its last lines.
func excerpt(log []byte) []byte {
	lines := failing.FindAll(log, 8)
	if len(lines) > 0 {
		lines = append(lines, []byte("..."))
	}
	return bytes.Join(append(lines, lastLines(bytes.TrimSpace(log), 8)), []byte("\n"))
}

// stop ends the process and returns after it has ended: by SIGTERM, and by SIGKILL if it takes
// longer than grace.
func (p *process) stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if the process has ended
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// cpu returns the CPU time that the process has used, also after its end.
func (p *process) cpu() (time.Duration, error) {
	if !p.exited() {
		used, err := processCPU(p.cmd.Process.Pid)
		if err == nil {
			return used, nil
		}
		if !p.exited() {
			return 0, err
		}
	}
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), nil
}

// lastLines returns the last n lines of a text.
func lastLines(text []byte, n int) []byte {
	lines := bytes.Split(text, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}
