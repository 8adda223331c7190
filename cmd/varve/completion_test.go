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

// Without a broker there is nothing to complete with, and nothing hangs; a second TOPIC is not asked for at all.
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
