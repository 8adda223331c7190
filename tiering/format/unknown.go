package format

import (
	"github.com/varvelog/varve/document"
)

// A broker that rewrites what a newer one wrote keeps the members that it does not know.

// MarshalJSON writes the pointer with its unknown members.
func (p *Pointer) MarshalJSON() ([]byte, error) {
	type plain Pointer
	return document.Marshal((*plain)(p), p.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (p *Pointer) UnmarshalJSON(data []byte) (err error) {
	type plain Pointer
	p.unknown, err = document.Unmarshal(data, (*plain)(p))
	return err
}

// MarshalJSON writes the manifest with its unknown members.
func (m *Manifest) MarshalJSON() ([]byte, error) {
	type plain Manifest
	return document.Marshal((*plain)(m), m.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (m *Manifest) UnmarshalJSON(data []byte) (err error) {
	type plain Manifest
	m.unknown, err = document.Unmarshal(data, (*plain)(m))
	return err
}

// MarshalJSON writes the entry with its unknown members.
func (s *Segment) MarshalJSON() ([]byte, error) {
	type plain Segment
	return document.Marshal((*plain)(s), s.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (s *Segment) UnmarshalJSON(data []byte) (err error) {
	type plain Segment
	s.unknown, err = document.Unmarshal(data, (*plain)(s))
	return err
}

// MarshalJSON writes the reference with its unknown members.
func (r *PageRef) MarshalJSON() ([]byte, error) {
	type plain PageRef
	return document.Marshal((*plain)(r), r.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (r *PageRef) UnmarshalJSON(data []byte) (err error) {
	type plain PageRef
	r.unknown, err = document.Unmarshal(data, (*plain)(r))
	return err
}

// MarshalJSON writes the entry with its unknown members.
func (t *Trash) MarshalJSON() ([]byte, error) {
	type plain Trash
	return document.Marshal((*plain)(t), t.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (t *Trash) UnmarshalJSON(data []byte) (err error) {
	type plain Trash
	t.unknown, err = document.Unmarshal(data, (*plain)(t))
	return err
}

// MarshalJSON writes the reference with its unknown members.
func (r *TrashRef) MarshalJSON() ([]byte, error) {
	type plain TrashRef
	return document.Marshal((*plain)(r), r.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (r *TrashRef) UnmarshalJSON(data []byte) (err error) {
	type plain TrashRef
	r.unknown, err = document.Unmarshal(data, (*plain)(r))
	return err
}

// MarshalJSON writes the location with its unknown members.
func (l *Location) MarshalJSON() ([]byte, error) {
	type plain Location
	return document.Marshal((*plain)(l), l.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (l *Location) UnmarshalJSON(data []byte) (err error) {
	type plain Location
	l.unknown, err = document.Unmarshal(data, (*plain)(l))
	return err
}

// MarshalJSON writes the cut with its unknown members.
func (c *Cut) MarshalJSON() ([]byte, error) {
	type plain Cut
	return document.Marshal((*plain)(c), c.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (c *Cut) UnmarshalJSON(data []byte) (err error) {
	type plain Cut
	c.unknown, err = document.Unmarshal(data, (*plain)(c))
	return err
}

// MarshalJSON writes the pin with its unknown members.
func (p *Pin) MarshalJSON() ([]byte, error) {
	type plain Pin
	return document.Marshal((*plain)(p), p.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (p *Pin) UnmarshalJSON(data []byte) (err error) {
	type plain Pin
	p.unknown, err = document.Unmarshal(data, (*plain)(p))
	return err
}

// MarshalJSON writes the description with its unknown members.
func (b *Bucket) MarshalJSON() ([]byte, error) {
	type plain Bucket
	return document.Marshal((*plain)(b), b.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (b *Bucket) UnmarshalJSON(data []byte) (err error) {
	type plain Bucket
	b.unknown, err = document.Unmarshal(data, (*plain)(b))
	return err
}

// MarshalJSON writes the description with its unknown members.
func (t *Topic) MarshalJSON() ([]byte, error) {
	type plain Topic
	return document.Marshal((*plain)(t), t.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (t *Topic) UnmarshalJSON(data []byte) (err error) {
	type plain Topic
	t.unknown, err = document.Unmarshal(data, (*plain)(t))
	return err
}

// MarshalJSON writes the note with its unknown members.
func (o *Orphan) MarshalJSON() ([]byte, error) {
	type plain Orphan
	return document.Marshal((*plain)(o), o.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (o *Orphan) UnmarshalJSON(data []byte) (err error) {
	type plain Orphan
	o.unknown, err = document.Unmarshal(data, (*plain)(o))
	return err
}

// MarshalJSON writes the description with its unknown members.
func (d *Description) MarshalJSON() ([]byte, error) {
	type plain Description
	return document.Marshal((*plain)(d), d.unknown)
}

// UnmarshalJSON is the reverse of MarshalJSON.
func (d *Description) UnmarshalJSON(data []byte) (err error) {
	type plain Description
	d.unknown, err = document.Unmarshal(data, (*plain)(d))
	return err
}
