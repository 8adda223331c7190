package simulation

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Action is something that happens to the cluster at a time, counted from the moment when the
// cluster has settled. Its text form is a line, "1.5s freeze 2 3s": time, verb, and arguments.
type Action struct {
	At   time.Duration
	Verb string
	Args []string
}

func (a Action) String() string {
	return strings.Join(append([]string{a.At.String(), a.Verb}, a.Args...), " ")
}

// ParseAction parses a line.
func ParseAction(line string) (Action, error) {
	words := strings.Fields(line)
	if len(words) < 2 {
		return Action{}, fmt.Errorf("parse action %q: %w", line, errAction)
	}
	at, err := time.ParseDuration(words[0])
	if err != nil {
		return Action{}, fmt.Errorf("parse action %q: %w", line, err)
	}
	a := Action{At: at, Verb: words[1], Args: words[2:]}
	v, ok := verbs[a.Verb]
	if !ok || len(a.Args) < len(v.args) || len(a.Args) > len(v.args) && !v.more() {
		return Action{}, fmt.Errorf("parse action %q: %w", line, errAction)
	}
	for i, arg := range a.Args {
		if err = v.args[min(i, len(v.args)-1)].check(arg); err != nil {
			return Action{}, fmt.Errorf("parse action %q: %w", line, err)
		}
	}
	return a, nil
}

// more reports whether the last argument may be repeated.
func (v verb) more() bool { return len(v.args) > 0 && v.args[len(v.args)-1] == partitions }

var errAction = fmt.Errorf("not the form TIME VERB ARGUMENTS")

// argument is a kind of argument.
type argument int8

const (
	number argument = iota // also for a broker
	duration
	topic
	partitions // one or more numbers; the last argument
	list       // numbers separated by commas
)

func (k argument) check(text string) (err error) {
	switch k {
	case number, partitions:
		_, err = strconv.ParseInt(text, 10, 32)
	case duration:
		_, err = time.ParseDuration(text)
	case list:
		for one := range strings.SplitSeq(text, ",") {
			if _, err = strconv.ParseInt(one, 10, 32); err != nil {
				break
			}
		}
	case topic:
	}
	return err
}

// n returns a numeric argument.
func (a Action) n(i int) int64 {
	n, _ := strconv.ParseInt(a.Args[i], 10, 32) // already checked
	return n
}

// d returns a duration argument.
func (a Action) d(i int) time.Duration {
	d, _ := time.ParseDuration(a.Args[i]) // already checked
	return d
}

// ids returns a list argument.
func (a Action) ids(i int) []int32 {
	var all []int32
	for one := range strings.SplitSeq(a.Args[i], ",") {
		n, _ := strconv.ParseInt(one, 10, 32) // already checked
		all = append(all, int32(n))
	}
	return all
}
