//go:build varve_next

package format

import (
	"os"
	"slices"
	"strings"
	"sync"
)

// The build with the tag varve_next is a later version of Varve, with which tests show what the present
// one does beside it. It knows two features more, which change nothing but that a version without them
// must not read, or write, what names them. With the variable NEXT_VARVE in its environment it uses
// them, in those documents of a topic that the topic's name says, see nextDocuments. Without it, it writes
// what the present version does, as it has to until all brokers know more.

const (
	nextRead  = "next-read"
	nextWrite = "next-write"
	// nextPrefix is before the names of topics that have documents with features.
	nextPrefix = "next."
)

// nextDocuments are what the names of topics have behind nextPrefix, and what is changed then.
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

// name adds a feature to a list, which others may have.
func name(features *[]string, feature string) {
	if !slices.Contains(*features, feature) {
		*features = append(slices.Clone(*features), feature)
	}
}

// manifestTopics are the topics of the manifests that were encoded, by name: a pointer has none.
var manifestTopics sync.Map

func init() {
	known = append(known, nextRead, nextWrite)
	if os.Getenv("NEXT_VARVE") != "" {
		future = useNext
	}
}

// useNext names the features that the topic of a document asks for.
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
