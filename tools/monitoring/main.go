// Command monitoring checks the dashboards and alerts in monitoring/: that they can be read, that every expression parses, that every metric
// and label in it is in docs/metrics.md, and that every alert says what is wrong and where to read what to do.
//
//	monitoring [ROOT]
//
// It has a go.mod of its own, so that the broker's knows nothing of Prometheus' server.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := check(root); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// check checks the repository below root and returns all problems, joined.
func check(root string) error {
	metrics, err := readMetrics(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		return err
	}
	runbook, err := os.ReadFile(filepath.Join(root, "docs", "operations.md"))
	if err != nil {
		return err
	}
	var problems []error
	for pattern, checkFile := range map[string]func(name string, content []byte) []error{
		"grafana/*.json": func(name string, content []byte) []error { return checkDashboard(name, content, metrics) },
		"prometheus/alerts.yaml": func(name string, content []byte) []error {
			return checkAlerts(name, content, metrics, anchors(runbook))
		},
	} {
		files, globErr := filepath.Glob(filepath.Join(root, "monitoring", pattern))
		if globErr != nil {
			return globErr
		}
		if len(files) == 0 {
			problems = append(problems, fmt.Errorf("monitoring/%s: there is no such file", pattern))
		}
		for _, file := range files {
			content, readErr := os.ReadFile(file)
			if readErr != nil {
				return readErr
			}
			problems = append(problems, checkFile(filepath.Base(file), content)...)
		}
	}
	return errors.Join(problems...)
}
