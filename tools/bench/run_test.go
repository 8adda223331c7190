package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAlternation(t *testing.T) {
	systems := []system{{name: "a"}, {name: "b"}, {name: "c"}}
	var got []string
	for round := range 4 {
		for _, s := range alternate(systems, round) {
			got = append(got, s.name)
		}
	}
	if want := "a b c c b a a b c c b a"; strings.Join(got, " ") != want {
		t.Errorf("the order is %v, want %s", got, want)
	}
	if systems[0].name != "a" {
		t.Error("the caller's order has changed")
	}
}

func TestSplit(t *testing.T) {
	loads, failovers := split(allLegs())
	if len(loads)+len(failovers) != len(allLegs()) || len(failovers) != 2 {
		t.Fatalf("%d loads and %d failovers", len(loads), len(failovers))
	}
	for _, l := range failovers {
		if l.signal == 0 {
			t.Errorf("%s has neither a load nor a signal", l.name)
		}
	}
}

// TestLoadThatEndsIsReported: its own error is the one to show.
func TestLoadThatEndsIsReported(t *testing.T) {
	broken := errors.New("broken")
	l := startLoad(t.Context(), target{}, nil, func(context.Context, target, *counters) error { return broken })
	if err := l.wait(t.Context(), func() bool { return false }); err == nil {
		t.Error("the wait has no error")
	}
	if err := l.stop(); !errors.Is(err, broken) {
		t.Errorf("the load's error is %v", err)
	}
}

func TestGroupEndsWithItsFirstError(t *testing.T) {
	broken := errors.New("broken")
	g, ctx := newGroup(t.Context())
	g.run(ctx, func(ctx context.Context) error {
		<-ctx.Done()
		return errors.New("the connection broke")
	})
	g.run(ctx, func(context.Context) error { return broken })
	if err := g.wait(ctx); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}

// TestGroupThatIsEndedHasNoError: connections break when the caller ends a load.
func TestGroupThatIsEndedHasNoError(t *testing.T) {
	parent, cancel := context.WithCancel(t.Context())
	g, ctx := newGroup(parent)
	g.run(ctx, func(ctx context.Context) error {
		<-ctx.Done()
		return errors.New("the connection broke")
	})
	cancel()
	if err := g.wait(ctx); err != nil {
		t.Errorf("the error is %v", err)
	}
}

// TestRealBroker runs two short legs on a broker and checks that nothing is left of it.
func TestRealBroker(t *testing.T) {
	binary := os.Getenv("VARVE_BENCH_BINARY")
	if binary == "" {
		t.Skip("VARVE_BENCH_BINARY names no binary of Varve: make build, then set it to the path of bin/varve")
	}
	scratch := t.TempDir()
	out := filepath.Join(scratch, "results.jsonl")
	var table, progress strings.Builder
	err := command(t.Context(), []string{
		"-system", "varve=" + binary, "-legs", "^(small.c1|fetch.hot)$", "-rounds", "1", "-seconds", "0.3", "-warmup", "100ms",
		"-start-warmup", "100ms",
		"-fill-gb", "0.02", "-scratch", scratch, "-port", "61500", "run",
	}, &table, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	results, err := readResults(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 2 {
		t.Fatalf("there are %d results:\n%s", len(results), progress.String())
	}
	for _, r := range results {
		if r.Error != "" || r.Value <= 0 || r.PeakRSS <= 0 || r.PayloadBytes <= 0 || r.Seconds < 0.3 {
			t.Errorf("a result is %+v", r)
		}
		if !strings.Contains(table.String(), "| "+r.Leg+", "+r.Unit+" | ") {
			t.Errorf("%s is not in the table:\n%s", r.Leg, table.String())
		}
	}
	if left, err := filepath.Glob(filepath.Join(scratch, "run-*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestRunThatIsEnded stops the broker and removes its data.
func TestRunThatIsEnded(t *testing.T) {
	binary := os.Getenv("VARVE_BENCH_BINARY")
	if binary == "" {
		t.Skip("VARVE_BENCH_BINARY names no binary of Varve: make build, then set it to the path of bin/varve")
	}
	scratch := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The caller ends the run when its progress says that the broker is ready.
	progress := writerFunc(func(p []byte) (int, error) {
		if strings.Contains(string(p), "brokers ready") {
			cancel()
		}
		return len(p), nil
	})
	began := time.Now()
	err := command(ctx, []string{
		"-system", "varve=" + binary, "-legs", "^small.c1$", "-seconds", "3000", "-scratch", scratch, "-port", "61550", "run",
	}, new(strings.Builder), progress)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if took := time.Since(began); took > guard {
		t.Errorf("it took %s", took)
	}
	if left, err := filepath.Glob(filepath.Join(scratch, "run-*")); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
