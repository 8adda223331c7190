package main

import (
	"context"
	"io"
	"strings"
	"testing"
)

func TestReadLines(t *testing.T) {
	for input, want := range map[string][]string{
		"": nil, "a": {"a"}, "a\n": {"a"}, "a\r\nb\n\n": {"a\r", "b", ""}, "\x00\xff\n": {"\x00\xff"},
		strings.Repeat("x", 300_000) + "\ny": {strings.Repeat("x", 300_000), "y"},
	} {
		lines, ended := readLines(t.Context(), strings.NewReader(input))
		var got []string
		for line := range lines {
			got = append(got, string(line))
		}
		if err := <-ended; err != nil || strings.Join(got, "|") != strings.Join(want, "|") || len(got) != len(want) {
			t.Errorf("%.20q: got %d lines, %v, want %d", input, len(got), err, len(want))
		}
	}
}

func TestReadLinesRefusesEndlessLine(t *testing.T) {
	lines, ended := readLines(t.Context(), io.LimitReader(endless{}, maxLine+10))
	for range lines {
		t.Error("a line comes out")
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "a line is longer than 64.0 MiB") {
		t.Errorf("got %v", err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// TestReadLinesEndsWithItsContext: the reader ends when nothing receives its lines any more;
// otherwise goleak reports it.
func TestReadLinesEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lines, _ := readLines(ctx, strings.NewReader(strings.Repeat("line\n", 10_000)))
	<-lines
	cancel()
}

func TestSplitLine(t *testing.T) {
	for _, c := range []struct{ line, delimiter, key, value string }{
		{"k:v:w", ":", "k", "v:w"}, {":v", ":", "", "v"}, {"k:", ":", "k", ""}, {"a->b", "->", "a", "b"},
	} {
		key, value := splitLine([]byte(c.line), c.delimiter)
		if string(key) != c.key || string(value) != c.value || key == nil {
			t.Errorf("%q by %q: got %q, %q", c.line, c.delimiter, key, value)
		}
	}
	for _, delimiter := range []string{"", "="} {
		if key, value := splitLine([]byte("k:v"), delimiter); key != nil || string(value) != "k:v" {
			t.Errorf("by %q: got %q, %q, want no key", delimiter, key, value)
		}
	}
}
