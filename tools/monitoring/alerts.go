package main

import (
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// runbook is the start of the links in alerts.
const runbook = "/docs/operations/alerts.md#"

func checkAlerts(name string, content []byte, m metrics, sections map[string]bool) (problems []error) {
	groups, errs := rulefmt.Parse(content, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		problems = append(problems, fmt.Errorf("%s: %w", name, err))
	}
	if groups == nil {
		return problems
	}
	seen := map[string]bool{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			where := name + ": " + r.Alert
			if r.Alert == "" || seen[r.Alert] {
				problems = append(problems, fmt.Errorf("%s: a rule in group %s without a name, or with one that is there twice", where, g.Name))
			}
			seen[r.Alert] = true
			problems = append(problems, m.checkExpr(where, r.Expr)...)
			for _, key := range []string{"summary", "description"} {
				if strings.TrimSpace(r.Annotations[key]) == "" {
					problems = append(problems, fmt.Errorf("%s: there is no %s", where, key))
				}
			}
			if s := r.Labels["severity"]; s != "critical" && s != "warning" {
				problems = append(problems, fmt.Errorf("%s: severity %q is neither critical nor warning", where, s))
			}
			_, section, ok := strings.Cut(r.Annotations["runbook_url"], runbook)
			if !ok || !sections[section] {
				problems = append(problems, fmt.Errorf("%s: runbook_url %q names no section of docs/operations/alerts.md", where, r.Annotations["runbook_url"]))
			}
		}
	}
	if len(seen) == 0 {
		problems = append(problems, fmt.Errorf("%s: it has no alerts", name))
	}
	return problems
}

var (
	heading    = regexp.MustCompile(`(?m)^#+ +(.*?) *$`)
	notInLinks = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors returns the anchors of a document's sections, as GitHub generates them.
func anchors(markdown []byte) map[string]bool {
	all := map[string]bool{}
	for _, h := range heading.FindAllSubmatch(markdown, -1) {
		text := strings.ToLower(notInLinks.ReplaceAllString(string(h[1]), ""))
		all[strings.ReplaceAll(text, " ", "-")] = true
	}
	return all
}
