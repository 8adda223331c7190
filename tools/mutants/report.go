package main

import (
	"fmt"
	"io"
	"strings"
)

func (v verdict) outcome() string {
	switch {
	case v.killedBy != "":
		return v.killedBy
	case v.fault.survives != "":
		return "survives: " + v.fault.survives
	default:
		return "SURVIVES"
	}
}

// report writes the table of docs/testing.md. It returns an error if a fault survives without an
// explanation, or does not survive although its file explains why it would.
func report(w io.Writer, verdicts []verdict) error {
	var wrong []string
	killed := 0
	var b strings.Builder
	b.WriteString("| fault | found by | CPU |\n| --- | --- | --- |\n")
	for _, v := range verdicts {
		fmt.Fprintf(&b, "| %s | %s | %.1f s |\n", v.fault.name, v.outcome(), v.cpu.Seconds())
		if v.killedBy != "" {
			killed++
		}
		if (v.killedBy == "") != (v.fault.survives != "") {
			wrong = append(wrong, v.fault.name)
		}
	}
	fmt.Fprintf(&b, "\n%d of %d faults were found.\n", killed, len(verdicts))
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if len(wrong) > 0 {
		return fmt.Errorf("not as their files say: %s", strings.Join(wrong, ", "))
	}
	return nil
}
