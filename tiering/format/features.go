package format

import (
	"fmt"
	"slices"
	"strings"
)

// known lists the features of documents and entries that this build reads and writes. A feature is
// added here together with the code that honors it, and its name is never reused.
var known []string

// future changes what is about to be written, as a later version would. It is nil except in builds
// with the tag varve_next (next.go), which is for tests only.
var future func(v any)

// asLater applies future to what is written.
func asLater(v any) {
	if future != nil {
		future(v)
	}
}

// gated is a document that names features.
type gated interface {
	// gates returns the features that a reader has to know, and those that a writer has to know.
	gates() (read, write []string)
}

// readable returns an ErrUnsupportedFormat that names the features that this build does not know,
// nil if it knows all.
func readable(what string, features []string) error {
	if lacking := unknownOf(features); lacking != "" {
		return fmt.Errorf("%w: %s has feature %s: upgrade this broker", ErrUnsupportedFormat, what, lacking)
	}
	return nil
}

// writable returns an ErrReadOnly that names the features that this build does not know, nil
// if it knows all.
func writable(what string, v gated) error {
	read, write := v.gates()
	if lacking := unknownOf(slices.Concat(read, write)); lacking != "" {
		return fmt.Errorf("%w: %s has feature %s: upgrade this broker", ErrReadOnly, what, lacking)
	}
	return nil
}

// unknownOf lists the features that this build does not know, in quotes.
func unknownOf(features []string) string {
	var lacking []string
	for _, f := range features {
		if !slices.Contains(known, f) {
			lacking = append(lacking, fmt.Sprintf("%q", f))
		}
	}
	return strings.Join(lacking, ", ")
}
