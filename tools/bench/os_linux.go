package main

import (
	"os/exec"
	"syscall"
)

// bind makes a command start in a process group of its own, which Ctrl-C does not reach, and makes
// the kernel kill it when the thread that started it ends: no broker outlives this tool.
func bind(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// syncDisks returns after what was written to files is on the disks.
func syncDisks() { syscall.Sync() }
