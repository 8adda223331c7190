package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// tags are the build tags of the tests. Assertions are on, because a fault may first show in one of
// them.
const tags = "invariants"

// runner runs tests against one fault after another.
type runner struct {
	root           string
	limit, timeout time.Duration
	baseline       bool
	progress       io.Writer
}

// verdict is the outcome of a fault.
type verdict struct {
	fault    fault
	killedBy string // a test; "": the fault survived
	cpu      time.Duration
}

// all runs every suite without a fault first: a test that fails anyway finds nothing. Then it
// returns the verdict for each fault.
func (r *runner) all(ctx context.Context, faults []fault) ([]verdict, error) {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	passed := map[string]bool{}
	for _, f := range faults {
		for _, s := range f.suites {
			if !r.baseline || passed[s.key()] {
				continue
			}
			if err = r.passes(ctx, dir, s); err != nil {
				return nil, err
			}
			passed[s.key()] = true
		}
	}
	var verdicts []verdict
	for _, f := range faults {
		v, runErr := r.one(ctx, dir, f)
		if runErr != nil {
			return verdicts, fmt.Errorf("%s: %w", f.name, runErr)
		}
		verdicts = append(verdicts, v)
		_, _ = fmt.Fprintf(r.progress, "%s: %s after %.1f s of CPU\n", f.name, v.outcome(), v.cpu.Seconds())
	}
	return verdicts, nil
}

func (r *runner) passes(ctx context.Context, dir string, s suite) error {
	b, err := r.build(ctx, dir, "", s)
	if err != nil {
		return err
	}
	result, err := b.run(ctx, r.timeout)
	switch {
	case err != nil:
		return err
	case result.failed != "":
		return fmt.Errorf("%s fails without a fault: %s\n%s", s.pkg, result.failed, result.output)
	case bytes.Contains(result.output, []byte("testing: warning: no tests to run")):
		return fmt.Errorf("%s: no tests to run", s.key())
	}
	return nil
}

// one runs the suites of a fault in turn until one fails. Suites that draw random input run again,
// with new seeds, until the limit.
func (r *runner) one(ctx context.Context, dir string, f fault) (verdict, error) {
	overlay, err := writeOverlay(dir, r.root, f)
	if err != nil {
		return verdict{}, err
	}
	v := verdict{fault: f}
	var binaries []testBinary
	for _, s := range f.suites {
		b, buildErr := r.build(ctx, dir, overlay, s)
		if buildErr != nil {
			return v, buildErr
		}
		binaries = append(binaries, b)
	}
	for round := 0; len(binaries) > 0; round++ {
		again := binaries[:0:0]
		for _, b := range binaries {
			result, runErr := b.run(ctx, r.timeout)
			if runErr != nil {
				return v, runErr
			}
			v.cpu += result.cpu
			if v.killedBy = result.failed; v.killedBy != "" {
				return v, nil
			}
			if b.seeded {
				again = append(again, b)
			}
		}
		if f.survives != "" || v.cpu >= r.limit {
			return v, nil
		}
		binaries = again
	}
	return v, nil
}

// writeOverlay writes the overlay that makes the Go tool read the fault's files in place of the
// repository's. It returns its name.
func writeOverlay(dir, root string, f fault) (string, error) {
	changed, err := f.apply(root)
	if err != nil {
		return "", err
	}
	replace := map[string]string{}
	for name, content := range changed {
		abs, absErr := filepath.Abs(filepath.Join(root, filepath.FromSlash(name)))
		if absErr != nil {
			return "", absErr
		}
		replace[abs] = filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err = os.WriteFile(replace[abs], content, 0o600); err != nil {
			return "", err
		}
	}
	content, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, content, 0o600)
}

// testBinary is the compiled tests of a suite.
type testBinary struct {
	file, dir string
	args      []string
	seeded    bool // has tests with random input: another run may find more
}

func (r *runner) build(ctx context.Context, dir, overlay string, s suite) (testBinary, error) {
	src := filepath.Join(r.root, filepath.FromSlash(s.pkg))
	b := testBinary{file: filepath.Join(dir, strings.ReplaceAll(s.pkg, "/", "_")+".test"), dir: src}
	// The binaries are never debugged. Without debug information the compiler and the linker save a
	// quarter of their time.
	args := []string{"test", "-c", "-tags", tags, "-gcflags=-dwarf=false", "-ldflags=-s -w", "-o", b.file}
	if overlay != "" {
		args = append(args, "-overlay", overlay)
	}
	if _, err := goTool(ctx, r.root, append(args, "./"+s.pkg)...); err != nil {
		return b, err
	}
	b.args = []string{"-test.v", "-test.failfast", "-test.timeout", r.timeout.String()}
	if len(s.tests) > 0 {
		b.args = append(b.args, "-test.run", "^("+strings.Join(s.tests, "|")+")$")
	}
	rapid, err := seeded(src, nil)
	if rapid {
		b.args = append(b.args, "-rapid.nofailfile", "-rapid.shrinktime", "1ms")
	}
	if err == nil {
		b.seeded, err = seeded(src, s.tests)
	}
	return b, err
}

// seeded reports whether one of the tests in a directory draws its input with rapid. If tests is
// empty, any test counts.
func seeded(dir string, tests []string) (bool, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	for _, name := range files {
		file, parseErr := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if parseErr != nil {
			return false, parseErr
		}
		imports := slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"pgregory.net/rapid"` })
		if imports && (len(tests) == 0 || slices.ContainsFunc(tests, func(t string) bool { return draws(file, t) })) {
			return true, nil
		}
	}
	return false, err
}

// draws reports whether a test function itself calls rapid.
func draws(file *ast.File, test string) (yes bool) {
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == test {
			ast.Inspect(f, func(n ast.Node) bool {
				id, ok := n.(*ast.Ident)
				yes = yes || ok && id.Name == "rapid"
				return !yes
			})
		}
	}
	return yes
}

// result is the result of one run of a test binary.
type result struct {
	failed string // the first test that failed; "": all passed
	cpu    time.Duration
	output []byte
}

func (b testBinary) run(ctx context.Context, timeout time.Duration) (result, error) {
	// At its timeout the binary ends itself and names the test. This limit is for a binary that
	// cannot.
	ctx, cancel := context.WithTimeout(ctx, timeout+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.file, b.args...)
	cmd.Dir = b.dir
	cmd.WaitDelay = 10 * time.Second
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return result{}, err
	}
	res := result{output: output.Bytes(), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return res, ctx.Err()
		}
		res.failed = culprit(res.output)
	}
	return res, nil
}

var (
	failed  = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)
	hanging = regexp.MustCompile(`(?m)^panic: test timed out.*\n\s*running tests:\n\s*(\w+)`)
	running = regexp.MustCompile(`(?m)^=== (?:RUN|CONT) +(\w+)`)
)

// culprit returns the name of the failed test, found in the output of the binary.
func culprit(output []byte) string {
	if m := hanging.FindSubmatch(output); m != nil {
		return string(m[1]) + " (hangs)"
	}
	if m := failed.FindSubmatch(output); m != nil {
		return string(m[1])
	}
	if all := running.FindAllSubmatch(output, -1); all != nil {
		return string(all[len(all)-1][1]) + " (panics)"
	}
	return "the test binary"
}
