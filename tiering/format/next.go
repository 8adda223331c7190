//go:build varve_next

package format

import (
	"os"
	"slices"
	"strings"
	"sync"
)

// A build with the tag varve_next is a later version of Varve, with which tests show how the
// present version behaves beside it. It knows two more features, which change nothing, except that
// a version without them must not read, or write, the documents that name them. If the environment
// has the variable NEXT_VARVE, the build uses the features, in those documents of a topic that the
// topic's name selects, see nextDocuments. Otherwise it writes what the present version writes, as
// it has to until all brokers know more.

const (
	nextRead  = "next-read"
	nextWrite = "next-write"
	// nextPrefix begins the names of topics whose documents have features.
	nextPrefix = "next."
)

// nextDocuments has the rest of such a topic's name, after nextPrefix, and the change to
// its documents.
var nextDocuments = map[string]func(v any){
	"manifest-write": func(v any) {
		if m, ok := v.(*Manifest); ok {
			name(&m.Write, nextWrite)
		}
	},
	"manifest-read": func(v any) {
		if m, ok := v.(*Manifest); ok {
			name(&m.Read, nextRead)
		}
	},
	"pointer-write": func(v any) {
		if p, ok := v.(*Pointer); ok {
			name(&p.Write, nextWrite)
		}
	},
	"pointer-read": func(v any) {
		if p, ok := v.(*Pointer); ok {
			name(&p.Read, nextRead)
		}
	},
	"entry-read": func(v any) {
		if m, ok := v.(*Manifest); ok {
			for i := range m.Recent {
				name(&m.Recent[i].Read, nextRead)
			}
		}
	},
	"object-read": func(v any) {
		if d, ok := v.(*Description); ok {
			name(&d.Read, nextRead)
		}
	},
}

// name adds a feature to a list, which other documents may share.
func name(features *[]string, feature string) {
	if !slices.Contains(*features, feature) {
		*features = append(slices.Clone(*features), feature)
	}
}

// manifestTopics maps the names of encoded manifests to their topics: a pointer does not
// name its topic.
var manifestTopics sync.Map

func init() {
	known = append(known, nextRead, nextWrite)
	if os.Getenv("NEXT_VARVE") != "" {
		future = useNext
	}
}

// useNext adds the features that a document's topic asks for.
func useNext(v any) {
	topic := ""
	switch v := v.(type) {
	case *Manifest:
		topic = v.Topic
		manifestTopics.Store(v.Name(), topic)
	case *Pointer:
		if of, ok := manifestTopics.Load(v.Manifest); ok {
			topic = of.(string)
		}
	case *Description:
		topic = v.Topic
	}
	if kind, ok := strings.CutPrefix(topic, nextPrefix); ok && nextDocuments[kind] != nil {
		nextDocuments[kind](v)
	}
}
