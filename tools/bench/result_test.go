package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestResultsAreReadAsTheyWereWritten(t *testing.T) {
	want := []result{
		{Time: time.Unix(1e9, 0).UTC(), Round: 1, Leg: "small.c1", System: "new", Unit: requestsPerSecond, Value: 12.5, Noisy: true},
		{Round: 2, Leg: "failover.term", System: "old", Unit: secondsTaken, Error: "no leader"},
	}
	name := filepath.Join(t.TempDir(), "results.jsonl")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, r := range want {
		if err = writeResult(file, r); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readResults(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("read %+v, want %+v", got, want)
	}
}

func TestDamagedResultsAreNamed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "results.jsonl")
	if err := os.WriteFile(name, []byte("{\"leg\":\"small.c1\"}\n{\"leg\":\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readResults(name); err == nil || !strings.Contains(err.Error(), "result 2 of "+name) {
		t.Errorf("the error is %v", err)
	}
}

// TestValueIsOfTheUnit: CPU is for each GB of payload, whatever the unit.
func TestValueIsOfTheUnit(t *testing.T) {
	for unit, want := range map[string]float64{megabytesPerSecond: 250, requestsPerSecond: 5} {
		r := result{Unit: unit}
		r.used(usage{elapsed: 2 * time.Second, brokerCPU: time.Second, others: 0.31}, 7)
		r.payload(counts{10, 1000, 500e6})
		if r.Value != want || r.CPUPerGB != 2 || !r.Noisy || r.PeakRSS != 7 {
			t.Errorf("%s: %+v, want %v", unit, r, want)
		}
	}
}
