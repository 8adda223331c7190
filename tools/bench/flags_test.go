package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func parse(t *testing.T, args ...string) options {
	t.Helper()
	opts, _, err := parseFlags(args, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return opts
}

func TestFlags(t *testing.T) {
	opts, rest, err := parseFlags([]string{
		"-system", "new=/bin/new", "-system", "kafka=4.4.0", "-legs", "^small", "-rounds", "5", "-seconds", "2.5",
		"-max-gb", "0.5", "-heap", "2g", "-scratch", "/scratch", "run",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err = opts.validate(); err != nil {
		t.Fatal(err)
	}
	if len(rest) != 1 || rest[0] != "run" {
		t.Errorf("the rest is %q", rest)
	}
	if len(opts.systems) != 2 || opts.systems[0].name != "new" || opts.systems[1].name != "kafka" {
		t.Fatalf("the systems are %+v", opts.systems)
	}
	if v, ok := opts.systems[0].dist.(*varve); !ok || v.binary != "/bin/new" {
		t.Errorf("the first system is %+v", opts.systems[0].dist)
	}
	if k, ok := opts.systems[1].dist.(*kafka); !ok || k.version != "4.4.0" || k.heap != "2g" {
		t.Errorf("the second system is %+v", opts.systems[1].dist)
	}
	if opts.seconds != 2500*time.Millisecond || opts.maxBytes != 500_000_000 || opts.rounds != 5 {
		t.Errorf("the options are %+v", opts)
	}
	if opts.out != "/scratch/results.jsonl" {
		t.Errorf("results go to %s", opts.out)
	}
	if legs := opts.selected(); len(legs) != 2 || legs[0].name != "small.c1" || legs[1].name != "small.c16" {
		t.Errorf("the legs are %v", legs)
	}
}

// TestRelativePathsStartAtTheRoot: `go run -C tools/bench` changes the current directory.
func TestRelativePathsStartAtTheRoot(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	opts := parse(t, "-system", "new=bin/varve", "-out", "results.jsonl")
	if got := opts.systems[0].dist.(*varve).binary; got != filepath.Join(root, "bin/varve") {
		t.Errorf("the binary is %s", got)
	}
	if opts.out != filepath.Join(root, "results.jsonl") {
		t.Errorf("results go to %s", opts.out)
	}
	elsewhere, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(elsewhere)
	if opts = parse(t, "-system", "new=varve"); opts.systems[0].dist.(*varve).binary != filepath.Join(elsewhere, "varve") {
		t.Errorf("outside the repository the binary is %s", opts.systems[0].dist.(*varve).binary)
	}
}

func TestFlagsAreRefused(t *testing.T) {
	one := []string{"-system", "new=bin/varve"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "-system new=bin/varve"},
		{[]string{"-system", "bin/varve"}, "NAME=BINARY"},
		{[]string{"-system", "=4.4.0"}, "NAME=VERSION"},
		{[]string{"-system", "a/b=bin/varve"}, "NAME=BINARY"},
		{append(one, "-system", "new=4.4.0"), "two systems have the name new"},
		{append(one, "-legs", "("), "-legs"},
		{append(one, "-legs", "^nothing$"), "selects no leg"},
		{append(one, "-rounds", "0"), "-rounds"},
		{append(one, "-seconds", "0"), "-seconds"},
		{append(one, "-warmup", "-1s"), "-warmup"},
		{append(one, "-start-warmup", "2h"), "-start-warmup"},
		{append(one, "-max-gb", "0"), "-max-gb"},
		{append(one, "-fill-gb", "0"), "-fill-gb"},
		{append(one, "-partitions", "0"), "-partitions"},
		{append(one, "-port", "80"), "-port"},
		{append(one, "-port", "65530"), "-port"},
	} {
		opts, _, err := parseFlags(c.args, io.Discard)
		if err == nil {
			err = opts.validate()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: the error is %v, want %q", c.args, err, c.want)
		}
	}
}

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "is not a command"},
		{[]string{"start"}, "is not a command"},
		{[]string{"run", "-rounds", "3"}, "put flags before run"},
		{[]string{"table"}, "-out"},
	} {
		err := command(t.Context(), c.args, io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: the error is %v, want %q", c.args, err, c.want)
		}
	}
	var b strings.Builder
	err := command(t.Context(), []string{"-legs", "failover", "legs"}, &b, io.Discard)
	if err != nil || strings.Count(b.String(), "\n") != 2 {
		t.Errorf("the legs are %q, %v", b.String(), err)
	}
}

// TestLegsAreInTheReadme: the page describes each leg in a row that begins with its name.
func TestLegsAreInTheReadme(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range allLegs() {
		if !strings.Contains(string(page), "| `"+l.name+"` |") {
			t.Errorf("README.md has no row for %s", l.name)
		}
	}
}
