package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// check returns the problems of the faults: their place is missing, the result does not compile, or
// their tests are missing.
func check(ctx context.Context, root string, faults []fault) error {
	var dirs []string
	for _, f := range faults {
		for _, dir := range f.packages() {
			// A missing directory is reported by apply.
			if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(dir))); err == nil {
				dirs = append(dirs, dir)
			}
		}
	}
	slices.Sort(dirs)
	c, err := newCompiler(ctx, root, slices.Compact(dirs))
	if err != nil {
		return err
	}
	var problems []error
	for _, f := range faults {
		if err = errors.Join(c.compiles(f), testsExist(root, f.suites)); err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", f.name, err))
		}
	}
	return errors.Join(problems...)
}

// compiler type-checks changed packages itself, because the Go tool would take a second for each.
type compiler struct {
	root     string
	fset     *token.FileSet
	imports  types.Importer
	packages map[string]*sources // by directory
}

// sources are the unchanged files of a package, by their names in the repository.
type sources struct {
	path  string
	files map[string]*ast.File
}

// listed is the output of "go list" for a package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
}

func newCompiler(ctx context.Context, root string, dirs []string) (*compiler, error) {
	c := &compiler{root: root, fset: token.NewFileSet(), packages: map[string]*sources{}}
	if len(dirs) == 0 {
		return c, nil
	}
	args := []string{"list", "-tags", tags, "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles"}
	for _, dir := range dirs {
		args = append(args, "./"+dir)
	}
	out, err := goTool(ctx, root, args...)
	if err != nil {
		return nil, err
	}
	exports := map[string]string{}
	byDir := map[string]listed{}
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err = d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		exports[p.ImportPath], byDir[p.Dir] = p.Export, p
	}
	c.imports = importer.ForCompiler(c.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	for _, dir := range dirs {
		if err = c.parse(dir, byDir); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *compiler) parse(dir string, byDir map[string]listed) error {
	abs, err := filepath.Abs(filepath.Join(c.root, filepath.FromSlash(dir)))
	if err != nil {
		return err
	}
	s := &sources{path: byDir[abs].ImportPath, files: map[string]*ast.File{}}
	for _, name := range byDir[abs].GoFiles {
		file, parseErr := parser.ParseFile(c.fset, filepath.Join(abs, name), nil, parser.SkipObjectResolution)
		if parseErr != nil {
			return parseErr
		}
		s.files[path.Join(dir, name)] = file
	}
	c.packages[dir] = s
	return nil
}

// compiles returns the compiler's error for the packages that the fault changes, or nil.
func (c *compiler) compiles(f fault) error {
	changed, err := f.apply(c.root)
	if err != nil {
		return err
	}
	for _, dir := range f.packages() {
		files := maps.Clone(c.packages[dir].files)
		for name, content := range changed {
			if path.Dir(name) != dir {
				continue
			}
			if files[name], err = parser.ParseFile(c.fset, name, content, parser.SkipObjectResolution); err != nil {
				return err
			}
		}
		config := types.Config{Importer: c.imports}
		if _, err = config.Check(c.packages[dir].path, c.fset, slices.Collect(maps.Values(files)), nil); err != nil {
			return fmt.Errorf("it does not compile: %w", err)
		}
	}
	return nil
}

var testFunction = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// testsExist reports suites without tests, and tests that are missing.
func testsExist(root string, suites []suite) error {
	var problems []error
	for _, s := range suites {
		have := map[string]bool{}
		files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(s.pkg), "*_test.go"))
		if err != nil {
			return err
		}
		for _, file := range files {
			content, readErr := os.ReadFile(file)
			if readErr != nil {
				return readErr
			}
			for _, m := range testFunction.FindAllSubmatch(content, -1) {
				have[string(m[1])] = true
			}
		}
		if len(have) == 0 {
			problems = append(problems, fmt.Errorf("package %s has no tests", s.pkg))
			continue
		}
		for _, test := range s.tests {
			if !have[test] {
				problems = append(problems, fmt.Errorf("package %s has no %s", s.pkg, test))
			}
		}
	}
	return errors.Join(problems...)
}

func goTool(ctx context.Context, root string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	// The compiler's garbage collection is a third of a build's CPU time.
	cmd.Env = append(os.Environ(), "GOGC=400")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", args[0], err, stderr.String())
	}
	return out, nil
}
