package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"path/filepath"
	"regexp"
)

var fileName = regexp.MustCompile(`[A-Za-z0-9_]+\.go\b`)

// order is the place of each file in the package comment; a file that it does not name has none.
func order(fset *token.FileSet, files []*ast.File) map[string]int {
	places := map[string]int{}
	for _, file := range files {
		if filepath.Base(fset.Position(file.Pos()).Filename) != "doc.go" || file.Doc == nil {
			continue
		}
		for _, name := range fileName.FindAllString(file.Doc.Text(), -1) {
			if _, named := places[name]; !named {
				places[name] = len(places)
			}
		}
	}
	return places
}

// reference is from a file to a declaration of another one. The same two count once.
type reference struct {
	from string
	to   types.Object
}

// countReferences counts references between the files that the package comment names. It names them
// from the top, which callers of the package meet, to the ground. A reference from a file to one
// that is named before it is against the order.
func (f *figures) countReferences(fset *token.FileSet, files []*ast.File) {
	places := order(fset, files)
	if len(places) < 2 {
		return
	}
	f.ordered = true
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	config := types.Config{Importer: noImports{}, Error: func(error) {}}
	pkg, _ := config.Check(f.dir, fset, files, info) // what is imported is not known: that is no error here
	seen := map[reference]bool{}
	for ident, to := range info.Uses {
		if to.Pkg() != pkg || !to.Pos().IsValid() {
			continue
		}
		from, at := base(fset, ident.Pos()), base(fset, to.Pos())
		r := reference{from, to}
		if from == at || seen[r] || !outer(to, pkg) {
			continue
		}
		seen[r] = true
		a, known := places[from]
		b, target := places[at]
		if !known || !target {
			continue
		}
		f.references++
		if b < a {
			f.against++
		}
	}
}

// outer returns true for what is declared at the top of a package, and for methods and fields.
func outer(o types.Object, pkg *types.Package) bool {
	switch o := o.(type) {
	case *types.Func:
		return true
	case *types.Var:
		return o.IsField() || o.Parent() == pkg.Scope()
	default:
		return o.Parent() == pkg.Scope()
	}
}

func base(fset *token.FileSet, pos token.Pos) string {
	return filepath.Base(fset.Position(pos).Filename)
}

// noImports gives every import an empty package.
type noImports struct{}

func (noImports) Import(path string) (*types.Package, error) {
	pkg := types.NewPackage(path, filepath.Base(path))
	pkg.MarkComplete()
	return pkg, nil
}
