package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const sample = "testdata/sample"

func TestParse(t *testing.T) {
	const good = "What it breaks,\nand why.\n\nMore.\n\nfound by: p TestA TestB\nfound by: q\n\n-- p/a.go --\n\told\n\n\tlines\n-- becomes --\n\tnew\n-- q/b.go --\nx\n-- becomes --\n"
	f, err := parseFault("name", good)
	if err != nil {
		t.Fatal(err)
	}
	if f.prose != "What it breaks,\nand why.\n\nMore." || f.survives != "" {
		t.Errorf("prose %q, survives %q", f.prose, f.survives)
	}
	if len(f.suites) != 2 || f.suites[0].key() != "p TestA|TestB" || f.suites[1].key() != "q " {
		t.Errorf("suites %+v", f.suites)
	}
	want := []edit{{"p/a.go", "\told\n\n\tlines", "\tnew"}, {"q/b.go", "x", ""}}
	if len(f.edits) != 2 || f.edits[0] != want[0] || f.edits[1] != want[1] {
		t.Errorf("edits %+v", f.edits)
	}
	for change, problem := range map[[2]string]string{
		{"What it breaks,\nand why.\n\nMore.", ""}:                 "does not say",
		{"found by: p TestA TestB\nfound by: q", ""}:               "found by",
		{"-- becomes --\n\tnew", ""}:                               "want pairs",
		{"-- becomes --\n\tnew", "-- turns into --\n\tnew"}:        "becomes",
		{"-- p/a.go --\n\told\n\n\tlines\n-- becomes", "-- becom"}: "want pairs",
	} {
		if _, err = parseFault("name", strings.Replace(good, change[0], change[1], 1)); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%q: want %q: %v", change, problem, err)
		}
	}
}

// TestCheck plants each problem that check must find in a copy of the sample.
func TestCheck(t *testing.T) {
	for _, c := range []struct{ name, file, old, new, problem string }{
		{"all is well", "", "", "", ""},
		{"the text is gone", "calc/calc.go", "i <= n", "i < n+1", "has this 0 times"},
		{"the text is there twice", "calc/calc.go", "return sum", "_ = \"i <= n\"\n\treturn sum", "has this 2 times"},
		{"the text has moved", "calc/calc.go", "", "", "and so have calc/moved.go"},
		{"the result does not compile", "tools/mutants/faults/calc/found.txt", "i < n", "i < m", "undefined: m"},
		{"a variable is left over", "tools/mutants/faults/calc/found.txt", "i < n", "i < n && func() bool { left := 1; return true }()", "does not compile"},
		{"a test is gone", "calc/calc_test.go", "func TestClamp", "func TestLimit", "has no TestClamp"},
		{"the package has no tests", "calc/calc_test.go", "func Test", "func test", "has no tests"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.CopyFS(root, os.DirFS(sample)); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(c.problem, "moved") {
				replace(t, root, "calc/calc.go", "i <= n", "i < n+1")
				write(t, filepath.Join(root, "calc", "moved.go"), "package calc\n\n// i <= n\n")
			} else if c.file != "" {
				replace(t, root, c.file, c.old, c.new)
			}
			err := command(t.Context(), []string{"-root", root, "check"}, io.Discard, io.Discard)
			switch {
			case c.problem == "" && err != nil:
				t.Error(err)
			case c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)):
				t.Errorf("want %q: %v", c.problem, err)
			}
		})
	}
}

func TestRun(t *testing.T) {
	var out, progress bytes.Buffer
	err := command(t.Context(), []string{"-root", sample, "-timeout", "2s", "run"}, &out, &progress)
	if err == nil || !strings.HasSuffix(err.Error(), ": calc/survives") {
		t.Errorf("%v\n%s", err, progress.String())
	}
	for _, line := range []string{
		"| calc/found | TestSum |", "| calc/hangs | TestSum (hangs) |", "| calc/panics | TestClamp |",
		"| calc/survives | SURVIVES |", "| calc/explained | survives: the result is the same. |", "3 of 5 faults were found",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("no %q in\n%s", line, out.String())
		}
	}
}

// TestFailingTestsFindNothing checks that a suite that fails without a fault is reported before a
// fault is planted.
func TestFailingTestsFindNothing(t *testing.T) {
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(sample)); err != nil {
		t.Fatal(err)
	}
	replace(t, root, "calc/calc_test.go", "got != 10", "got != 11")
	err := command(t.Context(), []string{"-root", root, "run", "calc/found"}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "fails without a fault: TestSum") {
		t.Error(err)
	}
}

func TestExplanationThatIsWrong(t *testing.T) {
	f := fault{name: "f", survives: "nobody looks"}
	if err := report(io.Discard, []verdict{{fault: f, killedBy: "TestX", cpu: time.Second}}); err == nil {
		t.Error("a fault that was found is not one that survives")
	}
	if err := report(io.Discard, []verdict{{fault: f}}); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for names, want := range map[string]int{"calc": 5, "calc/found": 1, "calc/found,calc/hangs": 2} {
		faults, err := readFaults(sample, strings.Split(names, ","))
		if err != nil || len(faults) != want {
			t.Errorf("%s: %d faults, %v", names, len(faults), err)
		}
	}
	if _, err := readFaults(sample, []string{"calc/lost"}); err == nil {
		t.Error("no error for a fault that is not there")
	}
}

func replace(t *testing.T, root, file, old, text string) {
	t.Helper()
	name := filepath.Join(root, filepath.FromSlash(file))
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(content), old) {
		t.Fatalf("%s has no %q", file, old)
	}
	write(t, name, strings.ReplaceAll(string(content), old, text))
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
