package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

const (
	lowestPort  = 1024
	highestPort = 65535
	// defaultPort is above the ports that Linux gives to clients, one of which may hold a port that
	// a broker needs.
	defaultPort = 61000
)

// options are the flags of a run.
type options struct {
	systems    []system
	legs       *regexp.Regexp
	rounds     int
	seconds    time.Duration // the measured part of a leg, and the steady load before a signal
	warmup     time.Duration // the same load before it, which is not measured
	startup    time.Duration // load of small requests after each start of one broker
	maxBytes   int64         // payload after which a leg's measurement ends; also ends it early
	fillBytes  int64         // payload in the topic that the consuming legs read
	partitions int           // of the failover topic
	scratch    string
	out        string
	port       int // the first of the ports that the brokers listen on
	fillCache  bool
}

// parseFlags reads the flags and returns what follows them.
func parseFlags(args []string, stderr io.Writer) (options, []string, error) {
	var opts options
	var systems []string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprint(stderr, "bench -system NAME=BINARY|VERSION... [flags] run|legs|table\n\n")
		flags.PrintDefaults()
	}
	flags.Func("system", "a system under test, `NAME=BINARY` of Varve or NAME=VERSION of Apache Kafka, such as "+
		"new=bin/varve or kafka=4.4.0; repeat it for each system, the first is the one that others are compared with",
		func(text string) error {
			systems = append(systems, text)
			return nil
		})
	legs := flags.String("legs", ".", "`REGEXP` of the legs to run; the command legs lists them")
	flags.IntVar(&opts.rounds, "rounds", 3, "how often every system runs every leg")
	seconds := flags.Float64("seconds", 10, "measured seconds of a leg, and of steady load before a signal")
	flags.DurationVar(&opts.warmup, "warmup", 2*time.Second, "load before the measured part of a leg")
	flags.DurationVar(&opts.startup, "start-warmup", 10*time.Second,
		"load of small requests after each start of a broker, in which a JVM compiles its code")
	maxGB := flags.Float64("max-gb", 6, "end a leg after `GB` of payload, which bounds the space that it needs")
	fillGB := flags.Float64("fill-gb", 3, "`GB` of payload in the topic that the consuming legs read")
	flags.IntVar(&opts.partitions, "partitions", 1000, "partitions of the failover topic")
	flags.StringVar(&opts.scratch, "scratch", filepath.Join(os.TempDir(), "varve-bench"),
		"`DIR` for data, which is removed, and for Kafka's jars, which are kept")
	flags.StringVar(&opts.out, "out", "",
		"`FILE` that results are appended to as JSON lines (default results.jsonl in -scratch)")
	flags.IntVar(&opts.port, "port", defaultPort, "first of the 30 loopback ports that the brokers listen on")
	heap := flags.String("heap", "1g", "heap of a Kafka broker, as for java -Xmx")
	flags.BoolVar(&opts.fillCache, "fill-cache", false,
		"fill the page cache before each start, so that brokers write into memory that the machine already has")
	if err := flags.Parse(args); err != nil {
		return opts, nil, err
	}
	var err error
	if opts.legs, err = regexp.Compile(*legs); err != nil {
		return opts, nil, fmt.Errorf("-legs: %w", err)
	}
	base, err := baseDir()
	if err != nil {
		return opts, nil, err
	}
	for _, text := range systems {
		s, parseErr := parseSystem(text, base, *heap)
		if parseErr != nil {
			return opts, nil, parseErr
		}
		opts.systems = append(opts.systems, s)
	}
	opts.seconds = time.Duration(*seconds * float64(time.Second))
	opts.maxBytes, opts.fillBytes = int64(*maxGB*gigabyte), int64(*fillGB*gigabyte)
	opts.scratch = absolute(base, opts.scratch)
	if opts.out == "" {
		opts.out = filepath.Join(opts.scratch, "results.jsonl")
	}
	opts.out = absolute(base, opts.out)
	return opts, flags.Args(), nil
}

// validate refuses what would fail only after minutes, and says what to give instead.
func (o options) validate() error {
	if len(o.systems) == 0 {
		return errors.New("there is no system to measure: give -system new=bin/varve or -system kafka=4.4.0")
	}
	for i, s := range o.systems {
		if slices.ContainsFunc(o.systems[:i], func(other system) bool { return other.name == s.name }) {
			return fmt.Errorf("-system: two systems have the name %s; give each a name of its own", s.name)
		}
	}
	switch {
	case len(o.selected()) == 0:
		return fmt.Errorf("-legs %s selects no leg; the command legs lists them", o.legs)
	case o.rounds < 1:
		return fmt.Errorf("-rounds is %d; give at least 1", o.rounds)
	case o.seconds <= 0 || o.seconds > time.Hour:
		return fmt.Errorf("-seconds is %g; give more than 0 and at most 3600", o.seconds.Seconds())
	case o.warmup < 0 || o.warmup > time.Hour:
		return fmt.Errorf("-warmup is %s; give at least 0s and at most 1h", o.warmup)
	case o.startup < 0 || o.startup > time.Hour:
		return fmt.Errorf("-start-warmup is %s; give at least 0s and at most 1h", o.startup)
	case o.maxBytes <= 0:
		return errors.New("-max-gb must be above 0")
	case o.fillBytes <= 0:
		return errors.New("-fill-gb must be above 0")
	case o.partitions < 1:
		return fmt.Errorf("-partitions is %d; give at least 1", o.partitions)
	case o.port < lowestPort || o.port+failoverBrokers*portsPerBroker > highestPort:
		return fmt.Errorf("-port is %d; give one from %d to %d",
			o.port, lowestPort, highestPort-failoverBrokers*portsPerBroker)
	}
	return nil
}

// selected returns the legs that -legs selects, in the order in which they run.
func (o options) selected() []leg {
	return slices.DeleteFunc(allLegs(), func(l leg) bool { return !o.legs.MatchString(l.name) })
}

// baseDir returns the directory that relative paths start from: the repository's root, if the tool
// runs inside the repository, since `go run -C tools/bench` changes the current directory. Anywhere
// else it is the current directory.
func baseDir() (string, error) {
	current, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the current directory: %w", err)
	}
	for dir := current; ; dir = filepath.Dir(dir) {
		content, readErr := os.ReadFile(filepath.Join(dir, "go.mod"))
		if readErr == nil && bytes.HasPrefix(content, []byte("module github.com/varvelog/varve\n")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return current, nil
		}
	}
}

func absolute(base, path string) string {
	if filepath.IsAbs(path) || strings.TrimSpace(path) == "" {
		return path
	}
	return filepath.Join(base, path)
}
