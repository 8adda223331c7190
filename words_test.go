package varve_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
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

// goFile is a Go file of the repository. The tools are among them, testdata is not.
type goFile struct {
	name    string // relative to the root, with slashes
	content string
	fset    *token.FileSet
	ast     *ast.File
}

func (f goFile) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }

// eachFile calls visit with the names of the repository's files that have an extension, relative to
// the root and with slashes. Hidden directories and testdata are left out.
func eachFile(extension string, visit func(name string) error) error {
	return filepath.WalkDir(".", func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && name != "." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "testdata"):
			return filepath.SkipDir
		case e.IsDir() || !strings.HasSuffix(name, extension):
			return nil
		}
		return visit(filepath.ToSlash(name))
	})
}

// readGoFiles reads and parses all of them, once for all checks.
var readGoFiles = sync.OnceValues(func() (files []goFile, err error) {
	err = eachFile(".go", func(name string) error {
		content, readErr := os.ReadFile(name)
		if readErr != nil {
			return readErr
		}
		f := goFile{name: name, content: string(content), fset: token.NewFileSet()}
		f.ast, readErr = parser.ParseFile(f.fset, name, content, parser.ParseComments|parser.SkipObjectResolution)
		files = append(files, f)
		return readErr
	})
	return files, err
})

func goFiles(t *testing.T) []goFile {
	t.Helper()
	files, err := readGoFiles()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func edited(name string) bool {
	return !slices.Contains(unedited, strings.Split(name, "/")[0])
}

// TestCommentsAreNarrow: a comment of its own line fits into the columns that CONTRIBUTING sets.
func TestCommentsAreNarrow(t *testing.T) {
	for _, f := range goFiles(t) {
		if !edited(f.name) {
			continue
		}
		for i, line := range strings.Split(f.content, "\n") {
			text := strings.TrimSpace(line)
			if !strings.HasPrefix(text, "//") || directive.MatchString(text) {
				continue
			}
			width := utf8.RuneCountInString(line) + (tabWidth-1)*strings.Count(line, "\t")
			if width > columns {
				t.Errorf("%s:%d: the comment has %d columns, at most %d", f.name, i+1, width, columns)
			}
		}
	}
}

// TestCommentsAvoidWords that have plainer ones.
func TestCommentsAvoidWords(t *testing.T) {
	for _, f := range goFiles(t) {
		if !edited(f.name) || f.name == "words_test.go" {
			continue
		}
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				if word := avoided.FindString(c.Text); word != "" && !directive.MatchString(c.Text) {
					t.Errorf("%s: a plainer word for %q: %s", f.fset.Position(c.Pos()), word, c.Text)
				}
			}
		}
	}
}

// TestCommentsOfExportedNamesSaySomething: a word repeats the name.
func TestCommentsOfExportedNamesSaySomething(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.isTest() {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Name.IsExported() && fn.Doc != nil && oneWord.MatchString(fn.Doc.Text()) {
				t.Errorf("%s: %s has a comment of one word", f.fset.Position(fn.Pos()), fn.Name.Name)
			}
		}
	}
}

// TestNamedTestsExist: doc.go files and the pages of docs name the tests that hold an invariant. A
// test that was renamed or removed leaves a claim that nothing holds.
func TestNamedTestsExist(t *testing.T) {
	there := map[string]bool{}
	named := map[string][]string{} // the places, by the name of a test
	for _, f := range goFiles(t) {
		if path.Base(f.name) == "doc.go" && f.ast.Doc != nil {
			for _, test := range testName.FindAllString(f.ast.Doc.Text(), -1) {
				named[test] = append(named[test], f.name)
			}
		}
		for _, d := range f.ast.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				there[fn.Name.Name] = true
			}
		}
	}
	pages := []string{"README.md", "CONTRIBUTING.md"}
	for _, pattern := range []string{"docs/*.md", "docs/operations/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	for _, page := range pages {
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
