package protocol

import (
	"fmt"
	"math"
)

// MaxElements bounds the array elements and tagged fields of one request, over all levels. It is
// far above the need of any client: 10,000 new partitions with three replicas each are 60,000. It
// is low enough to keep the structs decoded from one request below some tens of megabytes, however
// the request is built.
const MaxElements = 1 << 19

// CheckBody walks a request's body without allocating and returns the number of elements that
// decoding it will build. kmsg alone is not safe on hostile input. It allocates an array by its
// announced length as soon as that many bytes (not elements) are left. It also loops over an
// announced number of tagged fields, up to 2^32, even if nothing is left. A body that passes here
// decodes in bounded time and space. Bytes after the body are ignored, as in Kafka. Only APIs with
// a shape can be served.
func CheckBody(key, version int16, body []byte) (elements int, err error) {
	s, ok := shapes[key]
	if !ok {
		return 0, fmt.Errorf("check body of API %d: no shape: %w", key, ErrMalformed)
	}
	w := walker{cursor: cursor{src: body}, version: version, flexible: version >= s.flexible}
	w.structure(s.fields)
	if w.err != nil {
		return 0, fmt.Errorf("check body of %s v%d: %w", APIName(key), version, w.err)
	}
	return w.elements, nil
}

// HasShape reports whether CheckBody knows an API.
func HasShape(key int16) bool {
	_, ok := shapes[key]
	return ok
}

type walker struct {
	cursor
	version  int16
	flexible bool
}

func (w *walker) structure(fields []field) {
	tagged := false
	for i := range fields {
		if fields[i].tagged {
			tagged = true
			continue
		}
		if w.err != nil {
			return
		}
		w.field(&fields[i])
	}
	if !w.flexible || w.err != nil {
		return
	}
	if !tagged {
		w.skipTags()
		return
	}
	for n := w.tagCount(); n > 0 && w.err == nil; n-- {
		tag, body := w.tag()
		w.knownTag(fields, tag, body)
	}
}

// knownTag walks into a tagged field that the decoder will decode too.
func (w *walker) knownTag(fields []field, tag uint32, body []byte) {
	for i := range fields {
		f := &fields[i]
		if !f.tagged || f.tag != tag || !f.in(w.version) || w.err != nil {
			continue
		}
		inner := walker{cursor: cursor{src: body}, version: w.version, flexible: w.flexible}
		inner.value(f)
		w.elements += inner.elements
		if inner.err != nil {
			w.fail("tagged field %d: %v", tag, inner.err)
		}
		return
	}
}

func (w *walker) field(f *field) {
	if f.in(w.version) {
		w.value(f)
	}
}

func (w *walker) value(f *field) {
	switch f.kind {
	case kindFixed:
		w.span(f.size)
	case kindString:
		if n := w.length(kindString); n > 0 {
			w.span(n)
		}
	case kindBytes:
		if n := w.length(kindBytes); n > 0 {
			w.span(n)
		}
	case kindStruct:
		w.structure(f.fields)
	case kindNullable:
		if w.int8() != -1 && w.err == nil {
			w.structure(f.fields)
		}
	case kindArray:
		w.array(f)
	}
}

func (w *walker) array(f *field) {
	n := w.length(kindArray)
	if n > len(w.src) { // every element takes at least one byte
		w.fail("array of %d elements where %d bytes are left", n, len(w.src))
		return
	}
	if n > 0 {
		w.elements += n
	}
	if w.elements > MaxElements {
		w.fail("more than %d elements", MaxElements)
		return
	}
	for ; n > 0 && w.err == nil; n-- {
		w.value(&f.fields[0])
	}
}

func (w *walker) length(k kind) int {
	switch {
	case w.flexible:
		return w.compactLen()
	case k == kindString:
		return int(w.int16())
	default:
		return int(w.int32())
	}
}

type kind uint8

const (
	kindFixed kind = iota
	kindString
	kindBytes
	kindArray
	kindStruct
	kindNullable // a struct after a byte that is -1 for null
)

// field is one field of a request and the range of versions that have it.
type field struct { //nolint:recvcheck // in runs for every field of every request; the others change a copy
	kind     kind
	tagged   bool
	size     int
	from, to int16
	tag      uint32
	fields   []field
}

func (f *field) in(version int16) bool { return f.from <= version && version <= f.to }

func (f field) since(v int16) field {
	f.from = v
	return f
}

func (f field) until(v int16) field {
	f.to = v
	return f
}

func (f field) asTag(tag uint32) field {
	f.tagged, f.tag = true, tag
	return f
}

func fixed(n int) field { return field{kind: kindFixed, size: n, to: math.MaxInt16} }

// array is an array of one plain kind. rows is an array of structs.
func array(of field) field {
	return field{kind: kindArray, to: math.MaxInt16, fields: []field{of}}
}

func rows(fields ...field) field { return array(structure(fields...)) }

func structure(fields ...field) field {
	return field{kind: kindStruct, to: math.MaxInt16, fields: fields}
}

func nullable(fields ...field) field {
	return field{kind: kindNullable, to: math.MaxInt16, fields: fields}
}
