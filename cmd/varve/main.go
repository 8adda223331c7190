// Command varve is the broker and the tools of its users in one binary.
//
// Each file is one group of commands. A command reads its flags, calls package client (or record,
// for files), and prints to its streams. It returns errors to main, which prints them and is the
// only function that ends the process.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

func main() {
	// A reader that closes the pipe (varve log dump FILE | head) is not a failure: writes return
	// EPIPE instead of raising the signal.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	s := streams{in: os.Stdin, out: os.Stdout, errOut: os.Stderr}
	err := newRootCommand(s, buildVersion()).ExecuteContext(ctx)
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return
	}
	last := ""
	// One line for each thing that failed. Repeated lines are printed once.
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line != last {
			_, _ = fmt.Fprintf(s.errOut, "varve: %s\n", line)
		}
		last = line
	}
	os.Exit(exitStatus(err)) //nolint:forbidigo // main is the one place
}
