package client

import (
	"maps"
	"testing"
)

func TestProperties(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"":                                   {},
		"# a=b\n ! c=d\n\n":                  {},
		"a=b\nc : d\r\ne f\ng":               {"a": "b", "c": "d", "e": "f", "g": ""},
		"a = b = c \n":                       {"a": "b = c "},
		"a=b\\\n   c\\\n\td\ne=f":            {"a": "bcd", "e": "f"},
		"a=b\\\\\nc=d":                       {"a": `b\`, "c": "d"},
		"a=\\\n# no comment":                 {"a": "# no comment"},
		`a\=b\:c\ d=e`:                       {"a=b:c d": "e"},
		`a=\t\n\u00e9\q`:                     {"a": "\t\néq"},
		"a=b\\":                              {"a": "b"},
		"a=-----BEGIN X----- \\\nAA \\\nBB ": {"a": "-----BEGIN X----- AA BB "},
	} {
		got, err := parseProperties(text)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"a=1\na=2", `a=\u12`, `a=\u12xy`} {
		if got, err := parseProperties(text); err == nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func FuzzProperties(f *testing.F) {
	f.Add("a=b\\\n c\n#d\ne:\\u00e9\\")
	f.Fuzz(func(_ *testing.T, text string) { _, _ = parseProperties(text) })
}
