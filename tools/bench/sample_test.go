package main

import (
	"math"
	"testing"
	"time"
)

func TestParseMachine(t *testing.T) {
	m, err := parseMachine([]byte("cpu  100 20 30 4000 500 6 7 80 9 9\ncpu0 1 1 1 1 1 1 1 1 1 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	// The time of guests, the last two fields, is part of user and nice.
	if want := (machineTime{busy: 163 * tick, stolen: 80 * tick}); m != want {
		t.Errorf("read %+v, want %+v", m, want)
	}
	for _, damaged := range []string{"", "cpu 1 2 3\n", "intr 1 2 3 4 5 6 7 8 9\n", "cpu a 2 3 4 5 6 7 8 9\n"} {
		if _, err = parseMachine([]byte(damaged)); err == nil {
			t.Errorf("%q has no error", damaged)
		}
	}
}

// TestParseProcess: the name of a command may look like fields.
func TestParseProcess(t *testing.T) {
	stat := "42 (a) b (c 9 9) S 1 42 42 0 -1 4194304 100 0 0 0 150 50 7 7 20 0 1 0 100 1000 10"
	used, err := parseProcess([]byte(stat))
	if err != nil || used != 2*time.Second {
		t.Errorf("read %v, %v; want 2s", used, err)
	}
	if _, err = parseProcess([]byte("42 (a) S 1")); err == nil {
		t.Error("a short stat has no error")
	}
}

func TestParseKilobytes(t *testing.T) {
	text := []byte("VmPeak:\t  9 kB\nVmHWM:\t  2048 kB\nThreads:\t3\n")
	if n, err := parseKilobytes(text, "VmHWM"); err != nil || n != 2<<20 {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := parseKilobytes(text, "VmRSS"); err == nil {
		t.Error("a missing line has no error")
	}
}

// TestUsageOfOthers: others used what neither the brokers nor the client did.
func TestUsageOfOthers(t *testing.T) {
	start := time.Unix(1e9, 0)
	before := sample{
		at: start, machine: machineTime{busy: 100 * time.Second, stolen: time.Second},
		brokers: 10 * time.Second, client: 5 * time.Second,
	}
	after := sample{
		at: start.Add(4 * time.Second), machine: machineTime{busy: 107 * time.Second, stolen: 3 * time.Second},
		brokers: 13 * time.Second, client: 7 * time.Second,
	}
	u := before.until(after)
	if u.elapsed != 4*time.Second || u.brokerCPU != 3*time.Second || u.clientCPU != 2*time.Second {
		t.Errorf("used %+v", u)
	}
	if math.Abs(u.others-0.5) > 1e-9 || math.Abs(u.stolen-0.5) > 1e-9 {
		t.Errorf("others used %v cores, %v were stolen; want 0.5 and 0.5", u.others, u.stolen)
	}
	after.machine.busy = before.machine.busy // ticks are rounded, each for itself
	if u = before.until(after); u.others != 0 {
		t.Errorf("others used %v cores, want 0", u.others)
	}
	if u = before.until(before); u.others != 0 || u.stolen != 0 {
		t.Errorf("in no time %+v was used", u)
	}
}
