package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// metrics maps the names of the metrics that a broker exports to their labels.
type metrics map[string][]string

var (
	metricRow = regexp.MustCompile("(?m)^\\| `([a-zA-Z0-9_:]+)` \\| (\\w+) \\| \\w* \\| (?:`([^`]*)`)? \\|")
	// targetLabels are the labels that Prometheus adds to the metrics it scrapes.
	targetLabels = []string{"job", "instance"}
)

// readMetrics reads the tables of docs/metrics.md.
func readMetrics(path string) (metrics, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	m := metrics{"up": targetLabels}
	for _, row := range metricRow.FindAllStringSubmatch(string(text), -1) {
		name, kind := row[1], row[2]
		names := strings.FieldsFunc(row[3], func(r rune) bool { return r == ',' || r == ' ' })
		names = append(names, targetLabels...)
		switch kind {
		case "histogram":
			m[name+"_bucket"] = append(slices.Clone(names), "le")
			m[name+"_sum"], m[name+"_count"] = names, names
		case "summary":
			m[name] = append(slices.Clone(names), "quantile")
			m[name+"_sum"], m[name+"_count"] = names, names
		default:
			m[name] = names
		}
	}
	if len(m) < 50 {
		return nil, fmt.Errorf("%s: only %d metrics are found: its tables have another form", path, len(m))
	}
	return m, nil
}

// checkExpr parses an expression and checks the metrics and labels that it selects. A label in a
// grouping must belong to the metric of one of its selectors.
func (m metrics) checkExpr(where, text string) (problems []error) {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(text)
	if err != nil {
		return []error{fmt.Errorf("%s: %s: %w", where, text, err)}
	}
	known := map[string]bool{}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if s, ok := node.(*parser.VectorSelector); ok {
			problems = append(problems, m.checkSelector(where, s)...)
			for _, l := range m[s.Name] {
				known[l] = true
			}
		}
		return nil
	})
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		if a, ok := node.(*parser.AggregateExpr); ok {
			for _, l := range a.Grouping {
				if !known[l] {
					problems = append(problems, fmt.Errorf("%s: %s: no metric in it has the label %s", where, text, l))
				}
			}
		}
		return nil
	})
	return problems
}

func (m metrics) checkSelector(where string, s *parser.VectorSelector) (problems []error) {
	has, ok := m[s.Name]
	if !ok {
		return []error{fmt.Errorf("%s: %s is not in docs/metrics.md", where, s.Name)}
	}
	for _, match := range s.LabelMatchers {
		if match.Name != labels.MetricName && !slices.Contains(has, match.Name) {
			problems = append(problems, fmt.Errorf("%s: %s has no label %s", where, s.Name, match.Name))
		}
	}
	return problems
}
