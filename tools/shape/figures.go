package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	longFunction = 70 // lines, from the signature to the closing brace
	wideStruct   = 15 // fields
)

// named is a thing with a size.
type named struct {
	name string
	size int
}

// figures are those of one package, or of all.
type figures struct {
	dir                string
	fileLines          []int // of each file that is no test
	testLines          int
	code, comments     int // lines that are not blank, and those of them that are comments by themselves
	functions, structs []named
	methods            map[string]int // by type
	references         int            // from one file to a declaration in another, both named in doc.go
	against            int            // of these, to a file that doc.go names earlier
	ordered            bool           // doc.go names files
}

func (f *figures) add(other *figures) {
	f.fileLines = append(f.fileLines, other.fileLines...)
	f.testLines += other.testLines
	f.code += other.code
	f.comments += other.comments
	f.functions = append(f.functions, other.functions...)
	f.structs = append(f.structs, other.structs...)
	if f.methods == nil {
		f.methods = map[string]int{}
	}
	maps.Copy(f.methods, other.methods)
	f.references += other.references
	f.against += other.against
	f.ordered = f.ordered || other.ordered
}

// measure reads a package. References are counted between files that are no tests.
func measure(root, dir string) (*figures, error) {
	f := &figures{dir: dir, methods: map[string]int{}}
	names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		lines := strings.Count(string(content), "\n")
		if strings.HasSuffix(name, "_test.go") {
			f.testLines += lines
			continue
		}
		file, err := parser.ParseFile(fset, name, content, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		if ast.IsGenerated(file) {
			continue
		}
		f.fileLines = append(f.fileLines, lines)
		f.countLines(string(content))
		f.countDeclarations(fset, file)
		files = append(files, file)
	}
	f.countReferences(fset, files)
	return f, nil
}

func (f *figures) countLines(content string) {
	for line := range strings.SplitSeq(content, "\n") {
		line = strings.TrimSpace(line)
		if line != "" {
			f.code++
		}
		if strings.HasPrefix(line, "//") {
			f.comments++
		}
	}
}

func (f *figures) countDeclarations(fset *token.FileSet, file *ast.File) {
	for _, d := range file.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := fn.Name.Name
		if t := receiver(fn); t != "" {
			name = t + "." + name
			f.methods[f.dir+"."+t]++
		}
		size := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1
		f.functions = append(f.functions, named{f.dir + "." + name, size})
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if s, ok := spec.Type.(*ast.StructType); ok {
			f.structs = append(f.structs, named{f.dir + "." + spec.Name.Name, s.Fields.NumFields()})
		}
		return true
	})
}

// receiver is the name of the type that a function is a method of, "" for none.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	t := fn.Recv.List[0].Type
	for {
		switch x := t.(type) {
		case *ast.StarExpr:
			t = x.X
		case *ast.IndexExpr:
			t = x.X
		case *ast.IndexListExpr:
			t = x.X
		case *ast.Ident:
			return x.Name
		default:
			return ""
		}
	}
}

// over returns what is larger than a size, the largest first.
func over(all []named, size int) []named {
	large := slices.DeleteFunc(slices.Clone(all), func(n named) bool { return n.size <= size })
	slices.SortStableFunc(large, func(a, b named) int { return cmp.Or(b.size-a.size, strings.Compare(a.name, b.name)) })
	return large
}

func (f *figures) print(out io.Writer) {
	lines := slices.Sorted(slices.Values(f.fileLines))
	if len(lines) == 0 {
		return
	}
	total := 0
	for _, n := range lines {
		total += n
	}
	at := func(part float64) int { return lines[int(part*float64(len(lines)-1))] }
	references, against := "–", "–"
	if f.ordered {
		references, against = fmt.Sprint(f.references), fmt.Sprintf("%d (%.0f %%)", f.against, 100*ratio(f.against, f.references))
	}
	fmt.Fprintf(out, "| %s | %d | %d | %d | %d | %d | %d | %d | %.1f | %.2f | %s | %s |\n",
		f.dir, len(lines), total, at(0.5), at(0.9), lines[len(lines)-1], len(over(f.functions, longFunction)),
		len(over(f.structs, wideStruct)), 100*ratio(f.comments, f.code), ratio(f.testLines, total), references, against)
}

func ratio(a, b int) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// printLargest prints what is larger than it should be, and the types with the most methods.
func (f *figures) printLargest(out io.Writer) {
	var types []named
	for name, n := range f.methods {
		types = append(types, named{name, n})
	}
	print := func(title string, all []named, most int) {
		fmt.Fprintf(out, "\n%s:\n", title)
		for _, n := range all[:min(most, len(all))] {
			fmt.Fprintf(out, "  %4d %s\n", n.size, n.name)
		}
	}
	print("methods of a type, the ten largest", over(types, 0), 10)
	print(fmt.Sprintf("functions over %d lines", longFunction), over(f.functions, longFunction), len(f.functions))
	print(fmt.Sprintf("structs over %d fields", wideStruct), over(f.structs, wideStruct), len(f.structs))
}
