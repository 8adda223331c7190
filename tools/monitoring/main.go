// Command monitoring checks the dashboards and alerts in monitoring/. They must be readable, every
// expression must parse, and every metric and label in it must be in docs/metrics.md. Every alert
// must describe the problem and link to its remedy.
//
//	monitoring [ROOT]
//
// It has a go.mod of its own, so the broker's does not list Prometheus' server.
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

// check checks the repository at root and returns all problems, joined.
func check(root string) error {
	metrics, err := readMetrics(filepath.Join(root, "docs", "metrics.md"))
	if err != nil {
		return err
	}
	runbook, err := os.ReadFile(filepath.Join(root, "docs", "operations", "alerts.md"))
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
