package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func some(t *testing.T) metrics {
	t.Helper()
	m, err := readMetrics("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// wantProblem expects one of the problems to contain the text, or no problem for "".
func wantProblem(t *testing.T, problems []error, text string) {
	t.Helper()
	err := errors.Join(problems...)
	switch {
	case text == "" && err != nil:
		t.Error(err)
	case text != "" && (err == nil || !strings.Contains(err.Error(), text)):
		t.Errorf("want %q: %v", text, err)
	}
}

func TestExpressions(t *testing.T) {
	m := some(t)
	for expr, problem := range map[string]string{
		`sum by (topic) (rate(kafka_server_brokertopicmetrics_bytesin_total{job="varve"}[5m]))`:      "",
		`histogram_quantile(0.99, sum by (le, api) (rate(varve_broker_request_seconds_bucket[5m])))`: "",
		`up{job="varve"} == 0`: "",
		`sum(`:                 "parse error",
		`kafka_server_brokertopicmetrics_bytesin{topic="t"}`: "kafka_server_brokertopicmetrics_bytesin is not in docs/metrics.md",
		// A histogram has no series of its own name.
		`varve_broker_request_seconds`:             "is not in docs/metrics.md",
		`kafka_brokers{topic="t"}`:                 "no label topic",
		`sum by (topic) (kafka_brokers)`:           "has the label topic",
		`kafka_brokers and absent(no_such_metric)`: "no_such_metric is not",
	} {
		wantProblem(t, m.checkExpr("test", expr), problem)
	}
}

func TestAlerts(t *testing.T) {
	const good = `groups:
  - name: g
    rules:
      - alert: A
        expr: up == 0
        labels: {severity: critical}
        annotations: {summary: s, description: d, runbook_url: "https://example.com/docs/operations/alerts.md#a"}
`
	sections := map[string]bool{"a": true}
	for change, problem := range map[[2]string]string{
		{"", ""}:                              "",
		{"summary: s, ", ""}:                  "no summary",
		{"description: d", `description: ""`}: "no description",
		{"md#a", "md#b"}:                      "names no section",
		{"critical", "loud"}:                  "severity",
		{"up == 0", "down == 0"}:              "down is not in",
		{"expr: up == 0", "expr: up =="}:      "parse",
		{"alert: A", "alarm: A"}:              "alarm",
		{"summary: s", `summary: "{{ $no"`}:   "template",
	} {
		wantProblem(t, checkAlerts("test", []byte(strings.Replace(good, change[0], change[1], 1)), some(t), sections), problem)
	}
}

func TestDashboards(t *testing.T) {
	content, err := os.ReadFile(filepath.Join("..", "..", "monitoring", "grafana", "varve.json"))
	if err != nil {
		t.Fatal(err)
	}
	for change, problem := range map[[2]string]string{
		{"", ""}: "",
		{`"schemaVersion": 39`, `"schemaVersion": 30`}: "schemaVersion",
		{`"name": "datasource"`, `"name": "source"`}:   "data source",
		{"kafka_brokers", "kafka_brokres"}:             "kafka_brokres is not in",
		{`$topic`, `$topics`}:                          "no variable topics",
		{`"id": 2,`, `"id": 1,`}:                       "its id 1",
		{"{", ""}:                                      "invalid",
	} {
		text := strings.Replace(string(content), change[0], change[1], 1)
		if change[0] == "$topic" {
			text = strings.ReplaceAll(string(content), `$topic\"`, `$topics\"`)
		}
		wantProblem(t, checkDashboard("test", []byte(text), some(t)), problem)
	}
}

func TestAnchors(t *testing.T) {
	got := anchors([]byte("# One\ntext # no\n### VarveBrokerDown\n## When it's down, again\n"))
	for _, want := range []string{"one", "varvebrokerdown", "when-its-down-again"} {
		if !got[want] {
			t.Errorf("%s is not among %v", want, got)
		}
	}
	if len(got) != 3 {
		t.Errorf("too many: %v", got)
	}
}
