package simulation_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// pure lists the files whose code is completely stepped. They have no goroutine, select, clock or
// randomness, and for each loop over a map they either say that its order does not matter, or sort.
var pure = []string{
	"*.go",
	"../metadata/controller/plan.go", "../metadata/controller/planner.go",
	"../metadata/controller/rebalance.go", "../metadata/controller/doubts.go", "../metadata/controller/unclean_recovery.go",
	"../metadata/admin.go", "../metadata/admin_alter.go", "../metadata/repair.go", "../metadata/survivors.go",
	"../metadata/member.go", "../metadata/image_apply.go", "../metadata/values.go", "../metadata/placement.go",
	"../metadata/batch.go", "../metadata/admin_isr.go", "../metadata/admin_reassign.go", "../metadata/admin_elect.go",
	"../metadata/registration.go", "../metadata/registration_join.go",
	"../replication/followers.go", "../replication/follow.go", "../replication/append.go",
	"../replication/delete_records.go",
	"../replication/partition.go", "../replication/become.go", "../replication/insync/*.go", "../replication/role/*.go",
	"../replication/isr.go", "../replication/restore.go", "../replication/suspect.go", "../metadata/log_ends.go",
	"../tiering/*.go", "../tiering/format/*.go", "../tiering/lineage/*.go", "../tiering/ownership/*.go",
}

// allowed lists what the files have anyway, and why it leaves nothing to chance.
var allowed = map[string]string{
	"bubble.go time.After":                "it is the clock",
	"world.go stepped.By":                 "it is what runs the coroutines",
	"registration.go rand.Text":           "an incarnation is only compared with itself",
	"sweeper.go range over the map pages": "it is a slice",
	"isr.go select":                       "of run, and of what it waits for; the simulation calls write",
	"isr.go time.NewTicker":               "of run; the simulation calls write",
	"delete_records.go go":                "of WaitDeleted; the simulation asks Deleted.Done",
	"delete_records.go select":            "of WaitDeleted; the simulation asks Deleted.Done",
}

// anyOrder is the text of a comment on the line of a loop over a map whose order changes nothing.
const anyOrder = "any order"

// TestNothingIsLeftToChance: one seed is one history only if no code that runs in it has an order,
// a time or randomness of its own.
func TestNothingIsLeftToChance(t *testing.T) {
	used := map[string]bool{}
	for _, pattern := range pure {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: no such files, %v", pattern, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			for _, found := range chances(t, name) {
				if allowed[found.what] == "" {
					t.Errorf("%s: %s", found.at, found.what)
				}
				used[found.what] = true
			}
		}
	}
	for what := range allowed {
		if !used[what] {
			t.Errorf("%s is allowed and not used", what)
		}
	}
}

// chance is a place whose effect may differ between runs.
type chance struct {
	at   token.Position
	what string // the file's name, and what it does
}

// forbidden lists functions of packages, by package path. In a bubble time.Now and time.Since are
// the virtual time; timers are not driven by the scheduler.
var forbidden = map[string][]string{
	"time":         {"After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"},
	"math/rand":    nil, // all
	"math/rand/v2": nil,
	"crypto/rand":  nil,
	// Code that asks for the runner has a path for the simulation alone.
	"github.com/varvelog/varve/stepped": {"By"},
}

func chances(t *testing.T, name string) []chance {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	packages, marked := importsOf(file), map[int]bool{}
	fields, local := mapsOf(t, filepath.Join(filepath.Dir(name), "*.go")), mapsOf(t, name)
	for _, group := range file.Comments {
		for _, c := range group.List {
			marked[files.Position(c.Pos()).Line] = strings.Contains(c.Text, anyOrder)
		}
	}
	var all []chance
	note := func(n ast.Node, what string) {
		all = append(all, chance{files.Position(n.Pos()), filepath.Base(name) + " " + what})
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			note(n, "go")
		case *ast.SelectStmt:
			if !looks(n) {
				note(n, "select")
			}
		case *ast.RangeStmt:
			maps := local
			if _, isField := n.X.(*ast.SelectorExpr); isField {
				maps = fields
			}
			if name := lastName(n.X); maps[name] && !marked[files.Position(n.Pos()).Line] {
				note(n, "range over the map "+name)
			}
		case *ast.SelectorExpr:
			of, ok := n.X.(*ast.Ident)
			if !ok {
				break
			}
			names, listed := forbidden[packages[of.Name]]
			if listed && (names == nil || slices.Contains(names, n.Sel.Name)) {
				note(n, fmt.Sprintf("%s.%s", of.Name, n.Sel.Name))
			}
		}
		return true
	})
	return all
}

// looks reports whether a select only checks whether one operation is possible, and does not wait.
func looks(s *ast.SelectStmt) bool {
	withDefault := slices.ContainsFunc(s.Body.List, func(c ast.Stmt) bool { return c.(*ast.CommClause).Comm == nil })
	return withDefault && len(s.Body.List) == 2
}

// importsOf returns a file's imports by the names under which the file uses them.
func importsOf(file *ast.File) map[string]string {
	packages := map[string]string{}
	for _, spec := range file.Imports {
		path := strings.Trim(spec.Path.Value, `"`)
		name := filepath.Base(strings.TrimSuffix(path, "/v2"))
		if spec.Name != nil {
			name = spec.Name.Name
		}
		packages[name] = path
	}
	return packages
}

// mapsOf returns the names that files give to maps: fields, variables, parameters and results. A
// name that is a map somewhere counts as a map everywhere.
func mapsOf(t *testing.T, pattern string) map[string]bool {
	t.Helper()
	names, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	maps := map[string]bool{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			noteMaps(n, maps)
			return true
		})
	}
	return maps
}

func noteMaps(n ast.Node, maps map[string]bool) {
	switch n := n.(type) {
	case *ast.Field:
		for _, name := range n.Names {
			maps[name.Name] = maps[name.Name] || isMap(n.Type)
		}
	case *ast.ValueSpec:
		for i, name := range n.Names {
			maps[name.Name] = maps[name.Name] || isMap(n.Type) || i < len(n.Values) && isMap(n.Values[i])
		}
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			if name := lastName(left); name != "" && i < len(n.Rhs) && isMap(n.Rhs[i]) {
				maps[name] = true
			}
		}
	}
}

// isMap reports whether an expression is a map type, or makes a map.
func isMap(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.MapType:
		return true
	case *ast.CompositeLit:
		return isMap(e.Type)
	case *ast.CallExpr:
		of, ok := e.Fun.(*ast.Ident)
		return ok && of.Name == "make" && isMap(e.Args[0])
	}
	return false
}

// lastName returns the name that an expression ends with, "" if there is none.
func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
