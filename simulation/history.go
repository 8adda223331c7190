package simulation

import (
	"fmt"
	"strings"
	"time"
)

// History determines a run: the same history gives the same run, byte for byte.
type History struct {
	Seed    uint64 // of all randomness: delays, pauses, what a crash loses
	Brokers int
	Bucket  bool // topics have a remote tier
	Actions []Action
	Length  time.Duration // until the cluster is healed
}

// String returns the history as a step of a script, as a datadriven test has it in its file.
func (h History) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "simulate brokers=%d seed=%d length=%v", h.Brokers, h.Seed, h.Length)
	if h.Bucket {
		b.WriteString(" bucket")
	}
	b.WriteString("\n")
	for _, a := range h.Actions {
		fmt.Fprintln(&b, a)
	}
	return b.String()
}

// ParseActions parses the lines of a script. It skips empty lines and comments, which begin with #.
func ParseActions(text string) ([]Action, error) {
	var all []Action
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		a, err := ParseAction(line)
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, nil
}

// NewHistory draws a history from a seed.
func NewHistory(seed uint64) History {
	h := History{Seed: seed, Brokers: 3 + int(seed%3), Bucket: seed/3%2 == 1, Length: 40 * time.Second}
	h.Actions = generate(h)
	return h
}
