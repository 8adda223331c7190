// Command bench measures Varve beside other builds of itself and beside Apache Kafka, on one
// machine and over loopback, so that anybody can repeat the figures of docs/benchmarks.md.
//
//	bench -system NAME=BINARY|VERSION... [flags] run
//	bench [-legs REGEXP] legs
//	bench table FILE...
//
// run starts each system in turn, runs the legs, writes one line of JSON for each measurement, and
// prints a table in Markdown. legs lists the legs. table prints the table of files that run wrote.
// README.md describes the legs and how to read the table.
//
// It has a go.mod of its own, so that the broker's does not change for a tool. It needs Linux,
// since it reads /proc.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err == nil || errors.Is(err, flag.ErrHelp) { // the usage is printed
		return
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1) //nolint:forbidigo // main is the one place
}

// command runs one command line. Tables go to stdout, progress to stderr.
func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	opts, rest, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	name := ""
	if len(rest) > 0 {
		name, rest = rest[0], rest[1:]
	}
	switch name {
	case "run":
		return runCommand(ctx, opts, rest, stdout, stderr)
	case "legs":
		return listLegs(stdout, opts)
	case "table":
		return tableCommand(stdout, rest)
	default:
		return fmt.Errorf("%q is not a command; say run, legs or table after the flags", name)
	}
}

// runCommand measures, and prints the table also of a run that ended early.
func runCommand(ctx context.Context, opts options, rest []string, stdout, stderr io.Writer) error {
	if len(rest) > 0 {
		return fmt.Errorf("run takes no arguments, but there is %q; put flags before run", rest[0])
	}
	if err := opts.validate(); err != nil {
		return err
	}
	r, err := newRunner(opts, stderr)
	if err != nil {
		return err
	}
	results, err := r.run(ctx)
	err = errors.Join(err, r.close())
	if len(results) == 0 {
		return err
	}
	_, _ = fmt.Fprintf(stderr, "results are in %s\n", opts.out)
	return errors.Join(err, writeTable(stdout, results))
}

// listLegs prints the legs that -legs selects.
func listLegs(w io.Writer, opts options) error {
	for _, l := range opts.selected() {
		if _, err := fmt.Fprintf(w, "%-18s %s\n", l.name, l.about); err != nil {
			return err
		}
	}
	return nil
}

// tableCommand prints one table of the results in all files.
func tableCommand(w io.Writer, files []string) error {
	if len(files) == 0 {
		return errors.New("table needs the files that run wrote (-out)")
	}
	var all []result
	for _, file := range files {
		results, err := readResults(file)
		if err != nil {
			return err
		}
		all = append(all, results...)
	}
	return writeTable(w, all)
}
