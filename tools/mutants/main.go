// Command mutants plants faults in the code, one at a time, and runs the tests that should find
// them. A fault that no test finds shows a gap in the tests.
//
//	mutants [-root DIR] check [NAME...]
//	mutants [-root DIR] [-limit 10m] [-timeout 3m] [-baseline=false] run [NAME...]
//
// The faults are files below tools/mutants/faults (fault.go describes the format). NAME is such a
// file, without its ".txt", or a directory. check reports each fault whose place is missing, whose
// result does not compile, or whose tests are missing. run prints a table in Markdown, and fails if
// a fault survives without an explanation. The working tree is never changed: the Go tool reads the
// changed file through -overlay.
//
// It has a go.mod of its own and needs only the Go tool.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", ".", "the repository")
	limit := flags.Duration("limit", 10*time.Minute, "the CPU time after which a fault has survived")
	timeout := flags.Duration("timeout", 3*time.Minute, "the time after which one run of a package's tests hangs")
	baseline := flags.Bool("baseline", true, "first have all tests pass without a fault")
	if err := flags.Parse(args); err != nil {
		return err
	}
	faults, err := readFaults(*root, flags.Args()[min(1, flags.NArg()):])
	if err != nil {
		return err
	}
	switch flags.Arg(0) {
	case "check":
		return check(ctx, *root, faults)
	case "run":
		if err = check(ctx, *root, faults); err != nil {
			return err
		}
		r := runner{root: *root, limit: *limit, timeout: *timeout, baseline: *baseline, progress: stderr}
		verdicts, runErr := r.all(ctx, faults)
		return errors.Join(runErr, report(stdout, verdicts))
	default:
		return fmt.Errorf("%q is neither check nor run", flags.Arg(0))
	}
}
