package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

const faultsDir = "tools/mutants/faults"

// A fault is one file below faultsDir:
//
//	What it breaks, and what that would do to a user.
//
//	found by: storage TestModel TestTruncate
//	found by: replication
//
//	-- storage/truncate.go --
//		if offset < l.end {
//	-- becomes --
//		if offset <= l.end {
//
// The old text must occur exactly once in its file; the new text may be empty. There may be several
// such pairs. "found by" names a package and, optionally, some of its tests. A paragraph "survives:
// why" explains a fault that no test can find.
type fault struct {
	name     string
	prose    string
	suites   []suite
	survives string
	edits    []edit
}

// suite is the tests of a package: the named ones, or all.
type suite struct {
	pkg   string // directory relative to the root
	tests []string
}

func (s suite) key() string { return s.pkg + " " + strings.Join(s.tests, "|") }

type edit struct {
	file, old, new string
}

// readFaults reads the named faults, or all if there are no names.
func readFaults(root string, names []string) ([]fault, error) {
	dir := filepath.Join(root, filepath.FromSlash(faultsDir))
	var faults []fault
	var problems []error
	used := map[string]bool{}
	err := filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(file, ".txt") {
			return err
		}
		rel, err := filepath.Rel(dir, file)
		if err != nil {
			return err
		}
		name := strings.TrimSuffix(filepath.ToSlash(rel), ".txt")
		if !wanted(name, names, used) {
			return nil
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		f, err := parseFault(name, string(content))
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", name, err))
		}
		faults = append(faults, f)
		return nil
	})
	for _, name := range names {
		if !used[name] {
			problems = append(problems, fmt.Errorf("%s: there is no such fault", name))
		}
	}
	return faults, errors.Join(err, errors.Join(problems...))
}

// wanted reports whether one of the names is this fault or a directory above it. It marks matching
// names in used.
func wanted(name string, names []string, used map[string]bool) bool {
	found := len(names) == 0
	for _, n := range names {
		if name == n || strings.HasPrefix(name, n+"/") {
			used[n], found = true, true
		}
	}
	return found
}

func parseFault(name, content string) (fault, error) {
	head, rest, _ := strings.Cut("\n"+content, "\n-- ")
	f := fault{name: name}
	for paragraph := range strings.SplitSeq(strings.TrimSpace(head), "\n\n") {
		f = f.with(strings.TrimSpace(paragraph))
	}
	sections := strings.Split(rest, "\n-- ")
	if rest == "" || len(sections)%2 != 0 {
		return f, errors.New("want pairs of \"-- FILE --\" and \"-- becomes --\"")
	}
	for pair := range slices.Chunk(sections, 2) {
		file, old, ok := strings.Cut(pair[0], " --\n")
		becomes, text, ok2 := strings.Cut(pair[1]+"\n", " --\n")
		if !ok || !ok2 || becomes != "becomes" {
			return f, fmt.Errorf("want \"-- FILE --\" and then \"-- becomes --\": %q, %q", file, becomes)
		}
		f.edits = append(f.edits, edit{file: file, old: strings.TrimRight(old, "\n"), new: strings.TrimRight(text, "\n")})
	}
	switch {
	case f.prose == "":
		return f, errors.New("it does not say what it breaks")
	case len(f.suites) == 0:
		return f, errors.New("no \"found by\"")
	}
	return f, nil
}

// with returns the fault with another paragraph of its file's head.
func (f fault) with(p string) fault {
	switch {
	case strings.HasPrefix(p, "survives:"):
		f.survives = strings.Join(strings.Fields(strings.TrimPrefix(p, "survives:")), " ")
	case strings.HasPrefix(p, "found by:"):
		for line := range strings.Lines(p) {
			if words := strings.Fields(strings.TrimPrefix(line, "found by:")); len(words) > 0 {
				f.suites = append(f.suites, suite{pkg: words[0], tests: words[1:]})
			}
		}
	default:
		f.prose = strings.TrimSpace(f.prose + "\n\n" + p)
	}
	return f
}

// apply returns the changed content of the files that the fault changes, by name.
func (f fault) apply(root string) (map[string][]byte, error) {
	changed := map[string][]byte{}
	for _, e := range f.edits {
		content, ok := changed[e.file]
		if !ok {
			var err error
			if content, err = os.ReadFile(filepath.Join(root, filepath.FromSlash(e.file))); err != nil {
				return nil, err
			}
		}
		if n := bytes.Count(content, []byte(e.old)); e.old == "" || n != 1 {
			return nil, fmt.Errorf("%s has this %d times%s:\n%s", e.file, n, e.elsewhere(root), e.old)
		}
		changed[e.file] = bytes.Replace(content, []byte(e.old), []byte(e.new), 1)
	}
	return changed, nil
}

// elsewhere names other files in the same top directory that contain the text. It may have moved
// there.
func (e edit) elsewhere(root string) string {
	top, _, _ := strings.Cut(e.file, "/")
	var has []string
	_ = filepath.WalkDir(filepath.Join(root, top), func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") {
			return nil //nolint:nilerr // it is a hint
		}
		if content, err := os.ReadFile(file); err == nil && e.old != "" && bytes.Contains(content, []byte(e.old)) {
			if rel, err := filepath.Rel(root, file); err == nil && filepath.ToSlash(rel) != e.file {
				has = append(has, filepath.ToSlash(rel))
			}
		}
		return nil
	})
	if len(has) == 0 {
		return ""
	}
	return ", and so have " + strings.Join(has, ", ")
}

// packages returns the directories of the files that the fault changes.
func (f fault) packages() []string {
	dirs := make([]string, 0, len(f.edits))
	for _, e := range f.edits {
		dirs = append(dirs, path.Dir(e.file))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}
