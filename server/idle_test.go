package server

import (
	"math"
	"testing"
	"time"
)

func TestIdleness(t *testing.T) {
	now, used := time.Unix(0, 0), time.Duration(0)
	i := &idleness{now: func() time.Time { return now }, used: func() time.Duration { return used }, cpus: 2}
	i.begin()
	for n, step := range []struct {
		passed, used time.Duration
		want         float64
	}{
		{0, 0, 1},                                 // at the start
		{5 * time.Second, 5 * time.Second, 0.5},   // one of two
		{5 * time.Second, 10 * time.Second, 0.25}, // both
		{time.Second, 0, 1 - 15.0/22},             // a second scraper
		{9 * time.Second, 0, 1},                   // idle since the window before
		{10 * time.Second, 30 * time.Second, 0},   // never negative
		{20 * time.Second, 0, 1},                  // and idle again
	} {
		now, used = now.Add(step.passed), used+step.used
		if got := i.share(); math.Abs(got-step.want) > 1e-9 {
			t.Errorf("step %d: %v, want %v", n, got, step.want)
		}
	}
	if processorTime() <= 0 {
		t.Error("no processor time")
	}
}
