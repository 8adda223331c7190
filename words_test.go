package varve_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const (
	columns  = 100 // of a line that is a comment
	tabWidth = 4
)

// unedited are the directories whose words wait for their own change.
var unedited = []string{"groups", "coordinator"}

var (
	// directive is a comment that tools read. It cannot be wrapped.
	directive = regexp.MustCompile(`^//(go:|nolint|lint:)`)
	// avoided are words that CONTRIBUTING's style replaces: reports, from scratch, is missing, the
	// caller.
	avoided = regexp.MustCompile(`(?i)\b(tells|is told|anew|whoever|somebody|nobody|lacks)\b`)
	// oneWord is the comment of an exported name that says nothing more than a word.
	oneWord  = regexp.MustCompile(`^\S+\.?\n?$`)
	testName = regexp.MustCompile(`\bTest[A-Z]\w*`)
)

// eachGoFile calls f with every Go file of the repository, the tools included.
func eachGoFile(t *testing.T, f func(name string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() && name != "." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata") {
			return filepath.SkipDir
		}
		if !e.IsDir() && strings.HasSuffix(name, ".go") {
			f(name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func edited(name string) bool {
	return !slices.Contains(unedited, strings.Split(filepath.ToSlash(name), "/")[0])
}

func parse(t *testing.T, name string) (*token.FileSet, *ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	return fset, file
}

// TestCommentsAreNarrow: a comment of its own line fits into the columns that CONTRIBUTING sets.
func TestCommentsAreNarrow(t *testing.T) {
	eachGoFile(t, func(name string) {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(string(content), "\n") {
			text := strings.TrimSpace(line)
			if !edited(name) || !strings.HasPrefix(text, "//") || directive.MatchString(text) {
				continue
			}
			width := utf8.RuneCountInString(line) + (tabWidth-1)*strings.Count(line, "\t")
			if width > columns {
				t.Errorf("%s:%d: the comment has %d columns, at most %d", name, i+1, width, columns)
			}
		}
	})
}

// TestCommentsAvoidWords that have plainer ones.
func TestCommentsAvoidWords(t *testing.T) {
	eachGoFile(t, func(name string) {
		if !edited(name) || name == "words_test.go" {
			return
		}
		fset, file := parse(t, name)
		for _, group := range file.Comments {
			for _, c := range group.List {
				if word := avoided.FindString(c.Text); word != "" && !directive.MatchString(c.Text) {
					t.Errorf("%s: a plainer word for %q: %s", fset.Position(c.Pos()), word, c.Text)
				}
			}
		}
	})
}

// TestCommentsOfExportedNamesSaySomething: a word repeats the name.
func TestCommentsOfExportedNamesSaySomething(t *testing.T) {
	eachGoFile(t, func(name string) {
		if strings.HasSuffix(name, "_test.go") {
			return
		}
		fset, file := parse(t, name)
		for _, d := range file.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Name.IsExported() && fn.Doc != nil && oneWord.MatchString(fn.Doc.Text()) {
				t.Errorf("%s: %s has a comment of one word", fset.Position(fn.Pos()), fn.Name.Name)
			}
		}
	})
}

// TestNamedTestsExist: doc.go files and the pages of docs name the tests that hold an invariant. A
// test that was renamed or removed leaves a claim that nothing holds.
func TestNamedTestsExist(t *testing.T) {
	there := map[string]bool{}
	named := map[string][]string{} // the places, by the name of a test
	eachGoFile(t, func(name string) {
		_, file := parse(t, name)
		if filepath.Base(name) == "doc.go" && file.Doc != nil {
			for _, test := range testName.FindAllString(file.Doc.Text(), -1) {
				named[test] = append(named[test], name)
			}
		}
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				there[fn.Name.Name] = true
			}
		}
	})
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "README.md", "CONTRIBUTING.md") {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, test := range testName.FindAllString(string(content), -1) {
			named[test] = append(named[test], page)
		}
	}
	if len(named) < 100 {
		t.Fatalf("only %d tests are named: the search is wrong", len(named))
	}
	for test, places := range named {
		if !there[test] {
			t.Errorf("%s does not exist, which %s names", test, strings.Join(slices.Compact(places), ", "))
		}
	}
}

// TestProductImportsNoTestKits: a package whose name ends in "test" is imported by tests and other
// test kits only.
func TestProductImportsNoTestKits(t *testing.T) {
	kit := func(pkg string) bool { return strings.HasSuffix(pkg, "test") || pkg == "simulation" }
	for pkg, allowed := range layers {
		for _, imported := range allowed {
			if kit(imported) && !kit(pkg) {
				t.Errorf("%s imports the test kit %s", pkg, imported)
			}
		}
	}
}
