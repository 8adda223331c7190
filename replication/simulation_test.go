package replication

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"

	sim "github.com/varvelog/varve/simulation"
)

// TestSimulation runs histories of whole clusters, each from a seed; see package simulation. It
// takes a few seconds, VARVE_SIMULATION_TIME, or ten minutes with VARVE_LONG=1; the seeds start at
// VARVE_SIMULATION_FROM. VARVE_SIMULATION_SEED runs one history and shows its trace. A failing
// history is shortened and printed as a script for testdata/simulation; VARVE_SIMULATION_SHRINK
// bounds the number of runs for that.
func TestSimulation(t *testing.T) {
	if seed, one := numberOf(t, "VARVE_SIMULATION_SEED"); one {
		out := play(t, sim.NewHistory(seed), true)
		t.Logf("%s%v", out.Trace, out.Counts)
		if out.Err != nil {
			t.Fatal(out.Err)
		}
		return
	}
	first, _ := numberOf(t, "VARVE_SIMULATION_FROM")
	limit, began, cpu := simulationTime(t), time.Now(), cpuTime(t)
	var virtual time.Duration
	counts := map[string]int{}
	n := uint64(0)
	for ; n == 0 || time.Since(began) < limit; n++ {
		h := sim.NewHistory(first + n)
		out := play(t, h, false)
		virtual += out.Virtual
		for what, times := range out.Counts {
			counts[what] += times
		}
		if out.Err != nil {
			t.Errorf("seed %d: %v", h.Seed, out.Err)
			maybeShrinkISR(t, h, out)
			break
		}
	}
	t.Logf("%d histories of %v together in %v, %v of CPU: %v",
		n, virtual.Round(time.Second), time.Since(began).Round(time.Millisecond), (cpuTime(t) - cpu).Round(time.Millisecond), counts)
}

// cpuTime returns the CPU time that this process has used so far.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func maybeShrinkISR(t *testing.T, h sim.History, out sim.Outcome) {
	t.Helper()
	times, set := numberOf(t, "VARVE_SIMULATION_SHRINK")
	if !set {
		times = 400
	}
	if times == 0 {
		return
	}
	h, out = sim.Shrink(h, out, int(times), func(h sim.History) sim.Outcome { return play(t, h, false) })
	t.Errorf("the shortest history that breaks the same:\n\n%s----\n%v\n\n%s", h, out.Err, play(t, h, true).Trace)
}

func simulationTime(t *testing.T) time.Duration {
	t.Helper()
	switch text := os.Getenv("VARVE_SIMULATION_TIME"); {
	case text != "":
		limit, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return limit
	case os.Getenv("VARVE_LONG") != "":
		return 10 * time.Minute
	}
	return 5 * time.Second
}

func numberOf(t *testing.T, variable string) (n uint64, set bool) {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return 0, false
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n, true
}

// play runs a history in virtual time.
func play(t *testing.T, h sim.History, trace bool) (out sim.Outcome) {
	t.Helper()
	synctest.Test(t, func(*testing.T) {
		out = sim.Run(sim.Options{History: h, Clock: sim.Bubble{}, Machine: newSimMachine, Trace: trace})
	})
	return out
}

// TestSimulationIsReplayed: one seed is one history, byte for byte, whatever runs at the same time.
func TestSimulationIsReplayed(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for seed := range uint64(24) {
		h := sim.NewHistory(seed)
		h.Length = 10 * time.Second
		runtime.GOMAXPROCS(1)
		one := play(t, h, true)
		runtime.GOMAXPROCS(2)
		two := play(t, h, true)
		if !bytes.Equal(one.Trace, two.Trace) || one.Sum != two.Sum {
			t.Fatalf("seed %d: %s", seed, firstDifference(one.Trace, two.Trace))
		}
		if len(one.Trace) == 0 || one.Steps == 0 {
			t.Fatalf("seed %d: nothing has happened", seed)
		}
	}
}

// TestSimulationIsTheSameEverywhere: a seed is the same history on every machine. The sums come
// from the machine on which they were written; a change of the brokers' behavior needs -rewrite.
func TestSimulationIsTheSameEverywhere(t *testing.T) {
	datadriven.RunTest(t, "testdata/simulation-sums", func(t *testing.T, d *datadriven.TestData) string {
		t.Helper()
		var seed uint64
		d.ScanArgs(t, "seed", &seed)
		h := sim.NewHistory(seed)
		h.Length = 10 * time.Second
		out := play(t, h, true)
		if out.Err != nil {
			t.Fatal(out.Err)
		}
		return fmt.Sprintf("%016x, %d bytes of trace\n", out.Sum, len(out.Trace))
	})
}

func firstDifference(a, b []byte) string {
	one, two := bytes.Split(a, []byte("\n")), bytes.Split(b, []byte("\n"))
	for i := range min(len(one), len(two)) {
		if !bytes.Equal(one[i], two[i]) {
			return "line " + strconv.Itoa(i) + ":\n" + string(one[i]) + "\n" + string(two[i])
		}
	}
	return "one ends before the other"
}

// TestSimulationScripts runs the histories of testdata/simulation. Each has broken an invariant
// once.
//
//	simulate brokers=3 seed=1 length=10s   with one action per line, see package simulation
func TestSimulationScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/simulation", func(t *testing.T, path string) {
		t.Helper()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			var h sim.History
			var length string
			d.ScanArgs(t, "brokers", &h.Brokers)
			d.ScanArgs(t, "seed", &h.Seed)
			d.ScanArgs(t, "length", &length)
			h.Bucket = d.HasArg("bucket")
			var err error
			if h.Length, err = time.ParseDuration(length); err != nil {
				d.Fatalf(t, "%v", err)
			}
			if h.Actions, err = sim.ParseActions(d.Input); err != nil {
				d.Fatalf(t, "%v", err)
			}
			if out := play(t, h, false); out.Err != nil {
				return out.Err.Error() + "\n"
			}
			return "the invariants hold\n"
		})
	})
}
