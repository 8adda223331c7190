package ownership

import (
	"slices"
	"strings"
)

// Objects are names of objects, each once, in the order in which they were added. They are one
// string, so that states, events and requests that contain them can be compared. The zero
// value has no names.
type Objects string

// nameEnd separates two names. No name contains it.
const nameEnd = "\n"

// ObjectsOf returns the objects with the given names.
func ObjectsOf(names ...string) Objects { return Objects(strings.Join(names, nameEnd)) }

// Names returns the names.
func (o Objects) Names() []string {
	if o == "" {
		return nil
	}
	return strings.Split(string(o), nameEnd)
}

// Has reports whether an object of that name is among them.
func (o Objects) Has(name string) bool { return slices.Contains(o.Names(), name) }

// and returns o, followed by those of the others that are not in o.
func (o Objects) and(others Objects) Objects {
	names := o.Names()
	for _, name := range others.Names() {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return ObjectsOf(names...)
}

// among returns those that are among the others too.
func (o Objects) among(others Objects) Objects { return o.those(others, true) }

// without returns those that are not among the others.
func (o Objects) without(others Objects) Objects { return o.those(others, false) }

// those returns those whose presence among the others is as given.
func (o Objects) those(others Objects, among bool) Objects {
	if o == "" {
		return o
	}
	named := others.Names()
	return ObjectsOf(slices.DeleteFunc(o.Names(), func(name string) bool { return slices.Contains(named, name) != among })...)
}
