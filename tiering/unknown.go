package tiering

import (
	"github.com/varvelog/varve/document"
)

// Pointers, manifests and their entries are written again by whichever broker
// leads, and entries move into pages. Each of them keeps the fields that a newer
// broker has added.

// MarshalJSON writes the pointer and what is not known of it.
func (p pointer) MarshalJSON() ([]byte, error) {
	type plain pointer
	return document.Marshal(plain(p), p.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (p *pointer) UnmarshalJSON(b []byte) (err error) {
	type plain pointer
	p.unknown, err = document.Unmarshal(b, (*plain)(p))
	return err
}

// MarshalJSON writes the manifest and what is not known of it.
func (m *manifest) MarshalJSON() ([]byte, error) {
	type plain manifest
	return document.Marshal((*plain)(m), m.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (m *manifest) UnmarshalJSON(b []byte) (err error) {
	type plain manifest
	m.unknown, err = document.Unmarshal(b, (*plain)(m))
	return err
}

// MarshalJSON writes the entry and what is not known of it.
func (s *segment) MarshalJSON() ([]byte, error) {
	type plain segment
	return document.Marshal((*plain)(s), s.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (s *segment) UnmarshalJSON(b []byte) (err error) {
	type plain segment
	s.unknown, err = document.Unmarshal(b, (*plain)(s))
	return err
}

// MarshalJSON writes the entry and what is not known of it.
func (r *pageRef) MarshalJSON() ([]byte, error) {
	type plain pageRef
	return document.Marshal((*plain)(r), r.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (r *pageRef) UnmarshalJSON(b []byte) (err error) {
	type plain pageRef
	r.unknown, err = document.Unmarshal(b, (*plain)(r))
	return err
}

// MarshalJSON writes the entry and what is not known of it.
func (d deletion) MarshalJSON() ([]byte, error) {
	type plain deletion
	return document.Marshal(plain(d), d.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (d *deletion) UnmarshalJSON(b []byte) (err error) {
	type plain deletion
	d.unknown, err = document.Unmarshal(b, (*plain)(d))
	return err
}
