// Command shape prints figures of the shape of a Go tree: how large files, functions, structs and
// types are, how much of the code is comment, and how many references inside a package run against
// the order of files that its doc.go gives. `make shape` runs it on this repository; given another
// checkout it prints the figures to compare with.
//
//	shape [DIR]
package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := run(os.Stdout, root); err != nil {
		fmt.Fprintln(os.Stderr, "shape:", err)
		os.Exit(1)
	}
}

// run prints the figures of every package below root.
func run(out io.Writer, root string) error {
	dirs, err := packageDirs(root)
	if err != nil {
		return err
	}
	var packages []*figures
	all := &figures{dir: "all"}
	for _, dir := range dirs {
		f, err := measure(root, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		packages = append(packages, f)
		all.add(f)
	}
	slices.SortFunc(packages, func(a, b *figures) int { return strings.Compare(a.dir, b.dir) })
	fmt.Fprintln(out, "| package | files | lines | median | p90 | max | func > 70 | struct > 15 | cmt % | t/c | references | against |")
	fmt.Fprintln(out, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, f := range append(packages, all) {
		f.print(out)
	}
	all.printLargest(out)
	return nil
}

// packageDirs returns the directories below root with Go files that are not tests, relative to
// root. It passes over nested modules, hidden directories and testdata.
func packageDirs(root string) (dirs []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if path != root {
			name := d.Name()
			if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") || name == "testdata" || name == "vendor" {
				return fs.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil {
				return fs.SkipDir
			}
		}
		names, err := filepath.Glob(filepath.Join(path, "*.go"))
		if err != nil {
			return err
		}
		if slices.ContainsFunc(names, func(n string) bool { return !strings.HasSuffix(n, "_test.go") }) {
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			dirs = append(dirs, rel)
		}
		return nil
	})
	return dirs, err
}
