package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// dashboard is the part of a Grafana dashboard that is checked.
type dashboard struct {
	Title, UID    string
	SchemaVersion int
	Templating    struct {
		List []struct {
			Name, Type string
			Query      json.RawMessage // a string, or {"query": string}
		}
	}
	Panels []panel
}

type panel struct {
	ID         int
	Type       string
	Title      string
	GridPos    struct{ X, Y, W, H int }
	Datasource struct{ UID string }
	Panels     []panel // the panels of a collapsed row
	Targets    []struct {
		Expr         string
		LegendFormat string
	}
}

// oldestSchema is the schema version of the first Grafana 11.
const oldestSchema = 39

func checkDashboard(name string, content []byte, m metrics) (problems []error) {
	var d dashboard
	if err := json.Unmarshal(content, &d); err != nil {
		return []error{fmt.Errorf("%s: %w", name, err)}
	}
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(name+": "+format, args...)) }
	if d.Title == "" || d.UID == "" || d.SchemaVersion < oldestSchema {
		refuse("title %q, uid %q and schemaVersion %d: want all, and %d or later", d.Title, d.UID, d.SchemaVersion, oldestSchema)
	}
	variables := map[string]bool{}
	for _, v := range d.Templating.List {
		variables[v.Name] = true
		if expr, ok := strings.CutPrefix(queryText(v.Query), "label_values("); ok && v.Type == "query" {
			metric, label, _ := strings.Cut(strings.TrimSuffix(expr, ")"), ", ")
			problems = append(problems, m.checkExpr(name+": variable "+v.Name, fmt.Sprintf("count by (%s) (%s)", label, metric))...)
		}
	}
	if !variables["datasource"] {
		refuse("there is no variable for the data source")
	}
	ids := map[int]bool{}
	expressions := 0
	for _, p := range flatten(d.Panels) {
		where := fmt.Sprintf("%s: panel %q", name, p.Title)
		if ids[p.ID] {
			refuse("panel %q: another one has its id %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W <= 0 || p.GridPos.H <= 0 {
			refuse("panel %q: it is outside of the grid", p.Title)
		}
		if p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			refuse("panel %q: it does not ask the data source of the variable", p.Title)
		}
		for _, t := range p.Targets {
			expressions++
			for _, v := range variable.FindAllStringSubmatch(t.Expr, -1) {
				if !variables[v[1]] && v[1] != "__rate_interval" {
					refuse("panel %q: there is no variable %s", p.Title, v[1])
				}
			}
			problems = append(problems, m.checkExpr(where, strings.ReplaceAll(t.Expr, "$__rate_interval", "5m"))...)
		}
	}
	if expressions == 0 {
		refuse("it shows nothing")
	}
	return problems
}

var variable = regexp.MustCompile(`\$\{?(\w+)`)

func queryText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var query struct{ Query string }
	_ = json.Unmarshal(raw, &query) // anything else has no text
	return query.Query
}

func flatten(panels []panel) []panel {
	var all []panel
	for _, p := range panels {
		all = append(append(all, p), flatten(p.Panels)...)
	}
	return all
}
