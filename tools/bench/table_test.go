package main

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	results := []result{
		{Leg: "produce.1k.acks1", System: "new", Unit: megabytesPerSecond, Value: 1200, CPUPerGB: 0.5},
		{Leg: "produce.1k.acks1", System: "old", Unit: megabytesPerSecond, Value: 400, CPUPerGB: 1.5, Noisy: true},
		{Leg: "failover.kill", System: "new", Unit: secondsTaken, Value: 0.25},
		{Leg: "failover.kill", System: "old", Unit: secondsTaken, Error: "no leader"},
		{Leg: "produce.1k.acks1", System: "old", Unit: megabytesPerSecond, Value: 600, CPUPerGB: 12.34},
		{Leg: "produce.1k.acks1", System: "new", Unit: megabytesPerSecond, Value: 1000, CPUPerGB: 0.75},
		{Leg: "produce.1k.acks1", System: "new", Unit: megabytesPerSecond, Value: 1500, CPUPerGB: 0.25},
		{Leg: "small.c1", System: "new", Unit: requestsPerSecond, Value: 12345},
	}
	want := `| leg | new | CPU s/GB | old | CPU s/GB | new ÷ old |
| --- | --- | --- | --- | --- | --- |
| produce.1k.acks1, MB/s | 1,200 [1,000 .. 1,500] | 0.50 [0.25 .. 0.75] | 500 [400 .. 600] (noisy: 1 of 2) | 6.92 [1.50 .. 12.3] | 2.40 |
| failover.kill, s | 0.25 | | (failed: 1 of 1) | | |
| small.c1, req/s | 12,345 | | | | |
`
	var b strings.Builder
	if err := writeTable(&b, results); err != nil {
		t.Fatal(err)
	}
	if b.String() != want {
		t.Errorf("the table is\n%swant\n%s", b.String(), want)
	}
}

func TestTableOfNothingIsEmpty(t *testing.T) {
	var b strings.Builder
	if err := writeTable(&b, nil); err != nil || b.Len() > 0 {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{4, 1}, 2.5},
		{[]float64{9, 1, 2}, 2},
		{[]float64{9, 1, 3, 2}, 2.5},
	} {
		first := c.values[0]
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
		if c.values[0] != first {
			t.Errorf("median sorted its caller's values: %v", c.values)
		}
	}
}

func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0.00", 0.126: "0.13", 9.994: "9.99", 9.996: "10.0", 99.94: "99.9", 99.96: "100",
		999.4: "999", 999.6: "1,000", 12345.6: "12,346", 1234567: "1,234,567",
	} {
		if got := figure(v); got != want {
			t.Errorf("figure(%v) is %q, want %q", v, got, want)
		}
	}
}
