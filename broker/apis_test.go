package broker

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
)

var update = flag.Bool("update", false, "write docs/api.md again")

// handlerFiles returns the NN_api.go files by the key in their name.
func handlerFiles(t *testing.T) map[int16]string {
	t.Helper()
	names, err := filepath.Glob("[0-9][0-9]_*.go")
	if err != nil {
		t.Fatal(err)
	}
	files := map[int16]string{}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		var key int16
		if _, err := fmt.Sscanf(name, "%d_", &key); err != nil {
			t.Fatal(err)
		}
		if other, twice := files[key]; twice {
			t.Errorf("%s and %s are about the same API", other, name)
		}
		files[key] = name
	}
	return files
}

// kafkaVersions returns the versions that Apache Kafka 4.3.1 serves, by key.
func kafkaVersions(t *testing.T) map[int16][2]int16 {
	t.Helper()
	text, err := os.ReadFile("testdata/kafka-4.3-api-versions.txt")
	if err != nil {
		t.Fatal(err)
	}
	versions := map[int16][2]int16{}
	for line := range strings.Lines(string(text)) {
		var key, lowest, highest int16
		var name string
		if _, err := fmt.Sscan(line, &key, &name, &lowest, &highest); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		versions[key] = [2]int16{lowest, highest}
	}
	return versions
}

func TestEveryHandlerFileIsInTheTableAndTheReverse(t *testing.T) {
	files := handlerFiles(t)
	for _, a := range apis() {
		name, ok := files[a.key]
		if !ok {
			t.Errorf("%s (key %d) is served but has no file", a.name(), a.key)
			continue
		}
		delete(files, a.key)
		if want := fmt.Sprintf("%02d_%s.go", a.key, snake(a.name())); name != want {
			t.Errorf("%s is in %s, want %s", a.name(), name, want)
		}
	}
	for _, name := range files {
		t.Errorf("%s is not in the table", name)
	}
}

var upper = regexp.MustCompile(`([a-z])([A-Z])`)

func snake(name string) string {
	return strings.ToLower(upper.ReplaceAllString(name, "${1}_$2"))
}

func TestServedVersionsAreThoseOfKafka(t *testing.T) {
	want := kafkaVersions(t)
	last := int16(-1)
	for _, a := range apis() {
		if a.key <= last {
			t.Errorf("%s is out of order", a.name())
		}
		last = a.key
		if got := [2]int16{a.advertisedMin, a.max}; got != want[a.key] {
			t.Errorf("%s: versions %v, Kafka has %v", a.name(), got, want[a.key])
		}
		if a.min != a.advertisedMin && a.refuse == nil {
			t.Errorf("%s: nobody answers versions %d to %d", a.name(), a.advertisedMin, a.min-1)
		}
		if (a.handle == nil) == (a.accept == nil) {
			t.Errorf("%s has no handler or two", a.name())
		}
		if !protocol.HasShape(a.key) {
			t.Errorf("%s: its requests cannot be checked before they are decoded", a.name())
		}
	}
}

// TestRequestsWithBytesKeepTheirFrames: a frame must not be reused while a request's owner may
// still hold slices of it. Produce has bytes too, but releases them before its response.
func TestRequestsWithBytesKeepTheirFrames(t *testing.T) {
	for _, a := range apis() {
		if want := hasBytes(reflect.TypeOf(a.newRequest()).Elem()) && a.key != 0; a.keepsFrame != want {
			t.Errorf("%s: keepsFrame is %v", a.name(), a.keepsFrame)
		}
	}
}

func hasBytes(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice:
		return t.Elem().Kind() == reflect.Uint8 || hasBytes(t.Elem())
	case reflect.Pointer:
		return hasBytes(t.Elem())
	case reflect.Struct:
		if t == reflect.TypeFor[kmsg.Tags]() {
			return false // unknown tags are never used
		}
		for field := range t.Fields() {
			if hasBytes(field.Type) {
				return true
			}
		}
	}
	return false
}

// TestEveryServedVersionDecodes: every version of every request survives encoding, the shape check
// and decoding through the table.
func TestEveryServedVersionDecodes(t *testing.T) {
	for _, a := range apis() {
		for version := a.advertisedMin; version <= a.max; version++ {
			req := a.newRequest()
			if d, ok := req.(interface{ Default() }); ok {
				d.Default()
			}
			req.SetVersion(version)
			body := req.AppendTo(nil)
			if _, err := protocol.CheckBody(a.key, version, body); err != nil {
				t.Errorf("%s v%d: %v", a.name(), version, err)
			}
			got := a.newRequest()
			got.SetVersion(version)
			if err := got.ReadFrom(body); err != nil {
				t.Errorf("%s v%d: %v", a.name(), version, err)
			}
			if again := got.AppendTo(nil); !bytes.Equal(again, body) {
				t.Errorf("%s v%d: %x became %x", a.name(), version, body, again)
			}
			resp := req.ResponseKind()
			encoded := resp.AppendTo(nil)
			if err := req.ResponseKind().ReadFrom(encoded); err != nil {
				t.Errorf("%s v%d: response: %v", a.name(), version, err)
			}
		}
	}
}

// TestEveryHandlerAnswersEmptyRequests: every handler answers an empty request of every version
// with a response that can be encoded.
func TestEveryHandlerAnswersEmptyRequests(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	r := rand.New(rand.NewPCG(1, 1))
	for _, a := range apis() {
		if a.handle == nil || dataPath(a.key) {
			continue
		}
		for version := a.min; version <= a.max; version++ {
			req := kmsg.RequestForKey(a.key)
			req.SetVersion(version)
			if r.IntN(2) == 0 {
				req.(interface{ Default() }).Default()
			}
			// an empty software name is an error of its own
			if version < 3 || a.key != apiVersionsKey {
				c.call(req)
			}
		}
	}
	expectLogged(t, c.logs, "level", 0)
}

// dataPath reports whether an API needs real replicas.
func dataPath(key int16) bool {
	return slices.Contains([]int16{0, 1, 2, 21, 22, 23, 35}, key)
}

const apiDocument = "../docs/api.md"

func TestAPIDocumentIsCurrent(t *testing.T) {
	want := renderAPIDocument(t)
	if *update {
		if err := os.WriteFile(apiDocument, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(apiDocument)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not current: go test ./broker -run APIDocument -update", apiDocument)
	}
}

// renderAPIDocument renders the table and the handlers' comments.
func renderAPIDocument(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString("# Kafka APIs\n\nGenerated from the table in `broker/apis.go` and the comments of the handlers (`go test ./broker -run APIDocument -update`).\n" +
		"Versions are those of Apache Kafka 4.3.1. An API that is not listed is not served and not advertised.\n\n| key | API | versions |\n|---:|---|---|\n")
	files := handlerFiles(t)
	for _, a := range apis() {
		fmt.Fprintf(&b, "| %d | [%s](#%s) | %s |\n", a.key, a.name(), strings.ToLower(a.name()), a.versionText())
	}
	for _, a := range apis() {
		fmt.Fprintf(&b, "\n## %s\n\n", a.name())
		b.Write(handlerComment(t, files[a.key]))
	}
	return b.Bytes()
}

func (a api) versionText() string {
	text := fmt.Sprintf("%d-%d", a.min, a.max)
	if a.min == a.max {
		text = fmt.Sprint(a.min)
	}
	if a.advertisedMin != a.min {
		text += fmt.Sprintf(" (advertised from %d)", a.advertisedMin)
	}
	return text
}

// handlerComment returns the comment of the first method in a file, in Markdown.
func handlerComment(t *testing.T, file string) []byte {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil && fn.Doc != nil {
			return new(comment.Printer).Markdown(new(comment.Parser).Parse(fn.Doc.Text()))
		}
	}
	t.Fatalf("%s: no method with a comment", file)
	return nil
}
