// Command varve is the broker and the tools of its users in one binary.
//
// Each file is one group of commands. A command reads its flags, calls package client (or record, for files), and prints to the
// streams that it was given; errors are returned to main, which prints them and is the only one to end the process.
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
	// A reader that has seen enough (varve log dump FILE | head) is no failure: writes give EPIPE instead of the signal.
	signal.Ignore(syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	s := streams{in: os.Stdin, out: os.Stdout, errOut: os.Stderr}
	err := newRootCommand(s, buildVersion()).ExecuteContext(ctx)
	if err == nil || errors.Is(err, syscall.EPIPE) {
		return
	}
	last := ""
	for line := range strings.SplitSeq(err.Error(), "\n") { // one for each thing that failed, and once for the same reason
		if line != last {
			_, _ = fmt.Fprintf(s.errOut, "varve: %s\n", line)
		}
		last = line
	}
	os.Exit(exitStatus(err)) //nolint:forbidigo // main is the one place
}
