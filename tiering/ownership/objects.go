package ownership

import (
	"slices"
	"strings"
)

// Objects are names of objects, each once, in the order in which they were put in. They are one
// string, so that states, events and requests that have some can be compared. The zero value has
// none.
type Objects string

// nameEnd is between two names, and in none.
const nameEnd = "\n"

// ObjectsOf are objects by their names.
func ObjectsOf(names ...string) Objects { return Objects(strings.Join(names, nameEnd)) }

// Names are the names.
func (o Objects) Names() []string {
	if o == "" {
		return nil
	}
	return strings.Split(string(o), nameEnd)
}

// Has returns true if an object of that name is among them.
func (o Objects) Has(name string) bool { return slices.Contains(o.Names(), name) }

// and are these, and then those of the others that are not among them.
func (o Objects) and(others Objects) Objects {
	names := o.Names()
	for _, name := range others.Names() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return ObjectsOf(names...)
}

// among are those that are among the others too.
func (o Objects) among(others Objects) Objects { return o.those(others, true) }

// without are those that are not among the others.
func (o Objects) without(others Objects) Objects { return o.those(others, false) }

func (o Objects) those(others Objects, among bool) Objects {
	if o == "" {
		return o
	}
	named := others.Names()
	return ObjectsOf(slices.DeleteFunc(o.Names(), func(name string) bool { return slices.Contains(named, name) != among })...)
}
