package integration

import (
	"bufio"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// alarm is an event that a broker must not report unless the test causes it: a counter, and the
// words that the log contains for it.
type alarm struct {
	metric string
	says   string // in the log, which remains after the process has ended; "": nothing
}

// The alarms that must be silent in every test whenever it stops a broker.
var (
	truncatedBelow  = alarm{"varve_replication_truncations_below_high_watermark_total", "below the high watermark"}
	restartedLog    = alarm{"varve_replication_logs_restarted_total", ""}
	uncleanElection = alarm{"kafka_controller_controllerstats_uncleanleaderelections_total", "unclean election: records that were acknowledged may be lost"}
	alarms          = []alarm{truncatedBelow, restartedLog, uncleanElection}
)

// expect allows the alarms for the brokers of a test.
func expect(brokers []*process, these ...alarm) {
	for _, p := range brokers {
		p.expected = append(p.expected, these...)
	}
}

// checkAlarms asserts that no alarm has gone off. It runs before a broker is stopped.
func (p *process) checkAlarms(t *testing.T) {
	t.Helper()
	log := p.log.String()
	body, err := readMetrics(p, 5*time.Second) // it may be frozen, or not serve metrics to everyone
	for _, a := range alarms {
		if slices.Contains(p.expected, a) {
			continue
		}
		if n, there := counter(body, a.metric); n != 0 {
			t.Errorf("%s: %s is %v", p.bootstrap, a.metric, n)
		} else if err == nil && !there {
			t.Errorf("%s does not have %s", p.bootstrap, a.metric)
		}
		if a.says != "" && strings.Contains(log, a.says) {
			t.Errorf("%s has said: %s", p.bootstrap, a.says)
		}
	}
}

// counter is the sum of a metric over its labels.
func counter(body, name string) (sum float64, there bool) {
	lines := bufio.NewScanner(strings.NewReader(body))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), name)
		if !ok || rest == "" || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		if value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64); err == nil {
			sum, there = sum+value, true
		}
	}
	return sum, there
}

func TestCounter(t *testing.T) {
	const body = "# HELP a_total x\na_total 2\na_total_more 5\nb{x=\"1 2\"} 1\nb{x=\"3\"} 1.5\n"
	for name, want := range map[string]float64{"a_total": 2, "b": 2.5, "c": 0, "a": 0} {
		if got, there := counter(body, name); got != want || there != (want != 0) {
			t.Errorf("%s is %v, %v", name, got, there)
		}
	}
}
