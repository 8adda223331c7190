package varve_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

const operations = "docs/operations"

var (
	codeSpan = regexp.MustCompile("`[^`]*`")
	link     = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	// notInAnchor is what GitHub leaves out of the anchor of a heading.
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// page is a Markdown page without its blocks of code, which are empty lines.
type page struct {
	name  string
	lines []string
}

func readPage(t *testing.T, name string) page {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	p := page{name: name, lines: strings.Split(string(content), "\n")}
	code := false
	for i, line := range p.lines {
		fence := strings.HasPrefix(strings.TrimSpace(line), "```")
		if code || fence {
			p.lines[i] = ""
		}
		code = code != fence
	}
	if code {
		t.Errorf("%s: a block of code does not end", name)
	}
	return p
}

// allPages reads the pages of the repository, testdata excepted.
func allPages(t *testing.T) map[string]page {
	t.Helper()
	all := map[string]page{}
	if err := eachFile(".md", func(name string) error { all[name] = readPage(t, name); return nil }); err != nil {
		t.Fatal(err)
	}
	return all
}

// headings returns the headings of a level: 2 for "## ".
func (p page) headings(level int) (all []string) {
	for _, line := range p.lines {
		if text, ok := strings.CutPrefix(line, strings.Repeat("#", level)+" "); ok {
			all = append(all, strings.TrimSpace(text))
		}
	}
	return all
}

// hasAnchor reports whether a heading has the anchor on GitHub.
func (p page) hasAnchor(anchor string) bool {
	for level := range 6 {
		for _, h := range p.headings(level + 1) {
			if strings.ReplaceAll(strings.ToLower(notInAnchor.ReplaceAllString(h, "")), " ", "-") == anchor {
				return true
			}
		}
	}
	return false
}

// links returns the targets of the links to other places of the repository.
func (p page) links() (all []string) {
	for _, line := range p.lines {
		for _, m := range link.FindAllStringSubmatch(codeSpan.ReplaceAllString(line, ""), -1) {
			if !strings.Contains(m[1], "://") && !strings.HasPrefix(m[1], "mailto:") {
				all = append(all, m[1])
			}
		}
	}
	return all
}

// TestLinksOfPagesLead: a link names a file of the repository and, with an anchor, a heading of it.
func TestLinksOfPagesLead(t *testing.T) {
	all, links := allPages(t), 0
	for name, p := range all {
		for _, target := range p.links() {
			links++
			file, anchor, _ := strings.Cut(target, "#")
			to := name
			if file != "" {
				to = path.Join(path.Dir(name), file)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s: the link to %s leads nowhere", name, target)
			} else if anchor != "" && !all[to].hasAnchor(anchor) {
				t.Errorf("%s: the link to %s names no heading of %s", name, target, to)
			}
		}
	}
	if links < 100 {
		t.Fatalf("only %d links are found: the search is wrong", links)
	}
}

// TestOperationsPages: each has the four parts that its index promises, is in the index, and is
// written in the words and columns of CONTRIBUTING. The alerts have a section each instead.
func TestOperationsPages(t *testing.T) {
	names, err := filepath.Glob(operations + "/*.md")
	if err != nil || len(names) < 10 {
		t.Fatalf("the pages of %s: %v, %v", operations, names, err)
	}
	index := readPage(t, operations+"/README.md")
	for _, name := range names {
		p, base := readPage(t, filepath.ToSlash(name)), filepath.Base(name)
		if base != "README.md" && !slices.Contains(index.links(), base) {
			t.Errorf("%s is not in the index", p.name)
		}
		parts := []string{"When", "Do", "Check", "Undo"}
		if h := p.headings(2); base != "README.md" && base != "alerts.md" && (len(h) < len(parts) || !slices.Equal(h[:len(parts)], parts)) {
			t.Errorf("%s begins with the parts %q, want %q", p.name, h, parts)
		}
		for i, line := range p.lines {
			if word := avoided.FindString(line); word != "" {
				t.Errorf("%s:%d: a plainer word for %q", p.name, i+1, word)
			}
			table := strings.HasPrefix(strings.TrimSpace(line), "|")
			if n := utf8.RuneCountInString(line); n > columns && !table {
				t.Errorf("%s:%d: the line has %d columns, at most %d", p.name, i+1, n, columns)
			}
		}
	}
}
