package main

import (
	"strings"
	"testing"
)

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if out, _, err := run(t, "", "completion", shell); err != nil || !strings.Contains(out, "__complete") {
			t.Errorf("%s: %v\n%.200s", shell, err, out)
		}
	}
}

// TestCompletionWithoutABroker: without a broker there are no names to complete, and nothing hangs.
// A second TOPIC is not completed at all.
func TestCompletionWithoutABroker(t *testing.T) {
	t.Setenv("VARVE_BOOTSTRAP", "127.0.0.1:1")
	for line, want := range map[string]string{
		"topic describe": ":1\n", "consume": ":1\n", "consume t --group": ":1\n", "consume t": ":4\n", "produce t": ":4\n",
	} {
		if out, _, err := run(t, "", append(append([]string{"__complete"}, strings.Fields(line)...), "")...); err != nil || out != want {
			t.Errorf("%s: got %q, %v, want %q", line, out, err, want)
		}
	}
}
