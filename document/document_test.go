package document

import (
	"encoding/json"
	"reflect"
	"testing"
)

type value struct {
	V    int    `json:"v"`
	Name string `json:"name,omitempty"`
	List []int  `json:"list,omitempty"`
}

func TestUnknownMembersAreKept(t *testing.T) {
	for object, want := range map[string]struct {
		value   value
		unknown Unknown
	}{
		`{"v":1,"name":"a"}`:                     {value{V: 1, Name: "a"}, ""},
		`{}`:                                     {value{}, ""},
		` { } `:                                  {value{}, ""},
		`null`:                                   {value{}, ""},
		`{"v":1,"more":2}`:                       {value{V: 1}, `"more":2`},
		`{"more":2}`:                             {value{}, `"more":2`},
		`{"V":1,"NAME":"b"}`:                     {value{V: 1, Name: "b"}, ""},
		`{"\u0076":3}`:                           {value{V: 3}, ""},
		`{"a":"}\"],{","v":1}`:                   {value{V: 1}, `"a":"}\"],{"`},
		`{"a":{"v":[1,{"v":2}]},"list":[1,2]}`:   {value{List: []int{1, 2}}, `"a":{"v":[1,{"v":2}]}`},
		"{\n \"a\" : true ,\t\"b\": [ 1 , 2 ] }": {value{}, `"a":true,"b":[ 1 , 2 ]`},
		`{"a":-1.5e3,"b":null,"v":2,"c":"\\"}`:   {value{V: 2}, `"a":-1.5e3,"b":null,"c":"\\"`},
	} {
		var got value
		unknown, err := Unmarshal([]byte(object), &got)
		if err != nil || !reflect.DeepEqual(got, want.value) || unknown != want.unknown {
			t.Errorf("%s: %+v, %s, %v", object, got, unknown, err)
		}
	}
}

func TestWhatIsNoObjectIsAnError(t *testing.T) {
	for _, object := range []string{``, `{`, `[]`, `1`, `{"v":"x"}`, `{} {}`} {
		if _, err := Unmarshal([]byte(object), new(value)); err == nil {
			t.Errorf("%q is decoded", object)
		}
	}
	if _, err := Marshal(1, `"a":1`); err == nil {
		t.Error("a number has got a member")
	}
}

// FuzzKeep: whatever an object contains, it contains the same after it was read and written back.
func FuzzKeep(f *testing.F) {
	f.Add([]byte(`{"v":1,"more":[{"a":"\""}],"x":null}`))
	f.Add([]byte(`{"name":"a","b":{"c":1}}`))
	f.Fuzz(func(t *testing.T, object []byte) {
		var v value
		unknown, err := Unmarshal(object, &v)
		if err != nil {
			return
		}
		back, err := Marshal(v, unknown)
		if err != nil {
			t.Fatalf("%s: %v", object, err)
		}
		var first, second map[string]any
		if json.Unmarshal(object, &first) != nil || json.Unmarshal(back, &second) != nil {
			t.Fatalf("%s became %s", object, back)
		}
		var again value
		if unknownAgain, err := Unmarshal(back, &again); err != nil || unknownAgain != unknown || !reflect.DeepEqual(again, v) {
			t.Fatalf("%s became %s: %v", object, back, err)
		}
		for name := range first {
			if _, kept := second[name]; !kept && !isKnown(namesOf(reflect.TypeFor[value]()), quote(name)) {
				t.Fatalf("%s lost %q: %s", object, name, back)
			}
		}
	})
}

func quote(name string) []byte {
	quoted, _ := json.Marshal(name)
	return quoted
}

func TestMembersAreTakenOut(t *testing.T) {
	for object, want := range map[string][3]string{
		`{"v":1,"a":[{"b":"]"},2],"b":{}}`: {`{"v":1,"a":null,"b":null}`, `[{"b":"]"},2]`, `{}`},
		` { "b" : 7 , "c":{"a":1} } `:      {` { "b" : null , "c":{"a":1} } `, ``, `7`},
		`{"A":1}`:                          {`{"A":1}`, ``, ``},
		`{}`:                               {`{}`, ``, ``},
		`null`:                             {`null`, ``, ``},
		`{"a":1} {"b":2}`:                  {`{"a":null} {"b":2}`, `1`, ``},
		`{"a":]}`:                          {`{"a":null]}`, ``, ``},
		`{]`:                               {`{]`, ``, ``},
		``:                                 {``, ``, ``},
		`{"a":1,"a":[2]}`:                  {`{"a":null,"a":null}`, `[2]`, ``},
		`{"a":"\\\"","b":"{"}`:             {`{"a":null,"b":null}`, `"\\\""`, `"{"`},
	} {
		before := string([]byte(object))
		rest, values := Without([]byte(object), "a", "b")
		if string(rest) != want[0] || string(values[0]) != want[1] || string(values[1]) != want[2] || object != before {
			t.Errorf("%s: %s, %s", object, rest, values)
		}
	}
}

func TestLastElement(t *testing.T) {
	for array, want := range map[string]string{
		`[1,{"a":[2]}]`: `{"a":[2]}`, "\t[1 , 2 ]\n": `2`, `[]`: ``, `null`: ``, `{"a":1}`: ``, `["]"]`: `"]"`, `[1,`: `1`, `[}`: ``, ``: ``,
	} {
		if got := Last([]byte(array)); string(got) != want {
			t.Errorf("%s ends with %s", array, got)
		}
	}
}
