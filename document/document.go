package document

import (
	"bytes"
	"encoding/json"
	"fmt"
	"iter"
	"reflect"
	"slices"
	"strings"
	"sync"
)

// Unknown holds the members of a JSON object that its reader does not know: their names and values
// as the object has them, with commas between members. It is empty if there are none.
type Unknown string

// Unmarshal decodes a JSON object into the struct that v points to, as json.Unmarshal does, and
// returns the members for which the struct has no field.
func Unmarshal(object []byte, v any) (Unknown, error) {
	if err := json.Unmarshal(object, v); err != nil {
		return "", err //nolint:wrapcheck // the caller names the object
	}
	known := namesOf(reflect.TypeOf(v).Elem())
	var unknown []byte
	for name, value := range members(object) {
		if isKnown(known, name) {
			continue
		}
		if len(unknown) > 0 {
			unknown = append(unknown, ',')
		}
		unknown = append(append(append(unknown, name...), ':'), value...)
	}
	return Unknown(unknown), nil
}

// Marshal encodes a struct as a JSON object, with the unknown members after its fields.
func Marshal(v any, unknown Unknown) ([]byte, error) {
	object, err := json.Marshal(v)
	if err != nil || unknown == "" {
		return object, err //nolint:wrapcheck // the caller names the object
	}
	open, isObject := bytes.CutSuffix(object, []byte("}"))
	if !isObject {
		return nil, fmt.Errorf("encode %T: it is no JSON object", v)
	}
	if len(open) > 1 {
		open = append(open, ',')
	}
	return append(append(open, unknown...), '}'), nil
}

// Without returns a JSON object in which the values of some members are replaced by null. It also
// returns these values in the order of names, nil for a missing member. It checks only the brackets
// and quotes of the values that it takes out, and only the names of the others: decoding the result
// shows whether it is JSON. Names are compared exactly, with their case.
func Without(object []byte, names ...string) (rest []byte, values [][]byte) {
	values = make([][]byte, len(names))
	copied := 0
	for name, value := range members(object) {
		i := slices.Index(names, strings.Trim(string(name), `"`))
		if i < 0 {
			continue
		}
		at := cap(object) - cap(value)
		rest = append(append(rest, object[copied:at]...), "null"...)
		copied, values[i] = at+len(value), value
	}
	return append(rest, object[copied:]...), values
}

// Last returns the last element of a JSON array, nil if it has none. It checks brackets and quotes
// only.
func Last(array []byte) (last []byte) {
	rest, isArray := bytes.CutPrefix(bytes.TrimSpace(array), []byte("["))
	for isArray {
		rest = bytes.TrimLeft(rest, " \t\r\n,")
		n := valueLen(rest)
		if n == 0 {
			break
		}
		last, rest = rest[:n], rest[n:]
	}
	return last
}

// isKnown compares names as encoding/json does, ignoring case.
func isKnown(known [][]byte, quoted []byte) bool {
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var plain string
		if json.Unmarshal(quoted, &plain) != nil {
			return false
		}
		name = []byte(plain)
	}
	for _, k := range known {
		if bytes.EqualFold(k, name) {
			return true
		}
	}
	return false
}

var names sync.Map // reflect.Type → [][]byte, for the few types of values

// namesOf returns the names of a struct's fields in JSON. Each field has a tag.
func namesOf(t reflect.Type) [][]byte {
	if known, ok := names.Load(t); ok {
		return known.([][]byte)
	}
	known := [][]byte{}
	for field := range t.Fields() {
		if name, _, _ := strings.Cut(field.Tag.Get("json"), ","); name != "" && name != "-" {
			known = append(known, []byte(name))
		}
	}
	names.Store(t, known)
	return known
}

// members yields the members of a JSON object: the quoted name, and the value. It yields nothing
// for other JSON, and stops at some point in text that is not JSON.
func members(object []byte) iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		rest, isObject := bytes.CutPrefix(bytes.TrimSpace(object), []byte("{"))
		for isObject {
			if rest = bytes.TrimLeft(rest, " \t\r\n,"); len(rest) == 0 || rest[0] == '}' {
				return
			}
			name := rest[:valueLen(rest)]
			rest = bytes.TrimLeft(rest[len(name):], " \t\r\n:")
			value := rest[:valueLen(rest)]
			rest = rest[len(value):]
			if len(name)+len(value) == 0 || !yield(name, value) {
				return
			}
		}
	}
}

// valueLen returns the length of the value at the start of valid JSON.
func valueLen(data []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(data); i++ {
		c := data[i]
		if quoted {
			switch c {
			case '\\':
				i++
			case '"':
				if quoted = false; depth == 0 {
					return i + 1
				}
			}
			continue
		}
		switch c {
		case '"':
			quoted = true
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i // the end of the object or array around a number or a word
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(data)
}
