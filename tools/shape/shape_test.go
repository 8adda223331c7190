package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestMeasure: the figures of a package that is small enough to count by hand.
func TestMeasure(t *testing.T) {
	f, err := measure("testdata", "sample")
	if err != nil {
		t.Fatal(err)
	}
	// Down: Top.g's type, and step. Up: ground.top's type, and note.
	if f.references != 4 || f.against != 2 || !f.ordered {
		t.Errorf("%d references, %d against, %t; want 4, 2 and true", f.references, f.against, f.ordered)
	}
	if n := f.methods["sample.Top"]; n != 2 {
		t.Errorf("Top has %d methods, want 2", n)
	}
	if f.testLines != 3 || len(f.fileLines) != 3 || f.comments != 6 {
		t.Errorf("%d lines of tests, %d files, %d comments; want 3, 3 and 6", f.testLines, len(f.fileLines), f.comments)
	}
	if large := over(f.structs, 1); len(large) != 1 || large[0].name != "sample.ground" {
		t.Errorf("%v, want ground alone", large)
	}
}

// TestRun prints a line for each package, and the sum.
func TestRun(t *testing.T) {
	var out bytes.Buffer
	if err := run(&out, "testdata"); err != nil || !strings.Contains(out.String(), "| sample | 3 |") || !strings.Contains(out.String(), "| all | 3 |") {
		t.Errorf("%v:\n%s", err, out.String())
	}
}
