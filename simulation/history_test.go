package simulation

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A history's text is parsed back to the same actions, a seed gives one history, and malformed
// lines are rejected.
func TestHistoriesAreText(t *testing.T) {
	for seed := range uint64(50) {
		h := NewHistory(seed)
		_, text, _ := strings.Cut(h.String(), "\n")
		parsed, err := ParseActions("# a comment\n\n" + text)
		if err != nil || !reflect.DeepEqual(parsed, h.Actions) {
			t.Fatalf("seed %d: %v\n%s", seed, err, text)
		}
		if again := NewHistory(seed); again.String() != h.String() {
			t.Fatalf("seed %d is not one history", seed)
		}
	}
	for _, line := range []string{"", "1s", "soon crash 1", "1s explode 1", "1s crash", "1s crash 1 2", "1s crash one", "1s freeze 1 long", "1s reassign a 0 1,x"} {
		if _, err := ParseAction(line); err == nil {
			t.Errorf("%q is no action", line)
		}
	}
}

// The generator uses every verb, so that no kind of action goes untested.
func TestEveryVerbIsDrawn(t *testing.T) {
	drawn := map[string]bool{}
	for seed := range uint64(300) {
		for _, a := range NewHistory(seed).Actions {
			drawn[a.Verb] = true
		}
	}
	for verb := range verbs {
		if !drawn[verb] {
			t.Errorf("%s never happens", verb)
		}
	}
}

// Shrink removes every action that the violation does not need, and keeps to the same violation and
// its budget.
func TestShrinkKeepsWhatBreaks(t *testing.T) {
	h := NewHistory(1)
	crash := Action{At: 5 * time.Second, Verb: "crash", Args: []string{"1"}}
	start := Action{At: 7 * time.Second, Verb: "start", Args: []string{"1"}}
	h.Actions = append([]Action{crash, start}, h.Actions...)
	slices.SortStableFunc(h.Actions, func(a, b Action) int { return int(a.At - b.At) })
	plays := 0
	play := func(h History) Outcome {
		plays++
		out := Outcome{Virtual: 12 * time.Second}
		has := func(want Action) bool {
			return slices.ContainsFunc(h.Actions, func(a Action) bool { return reflect.DeepEqual(a, want) })
		}
		switch {
		case has(crash) && has(start):
			out.Err, out.Broken = errors.New("at 10s: lost"), "lost"
		case has(crash):
			out.Err, out.Broken = errors.New("does not heal"), "another"
		}
		return out
	}
	short, out := Shrink(h, play(h), 500, play)
	if !reflect.DeepEqual(short.Actions, []Action{crash, start}) || out.Broken != "lost" {
		t.Errorf("left are %v: %v", short.Actions, out.Err)
	}
	if plays > 501 {
		t.Errorf("played %d times", plays)
	}
}
