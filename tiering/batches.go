package tiering

import "bytes"

// Batches are whole record batches of the remote tier, one after the other, in as many parts as they
// have chunks. The bytes are shared with the cache and with other readers: read only. They stay valid
// for as long as they are referred to.
type Batches struct {
	Parts [][]byte
	Held  int // bytes that the parts keep in memory for so long: about as many as they have, or more
}

// Len is how many bytes there are.
func (b *Batches) Len() int {
	n := 0
	for _, part := range b.Parts {
		n += len(part)
	}
	return n
}

// add adds batches that lie in a chunk. They hold all of it, unless that would be more than twice as
// much as they need: then they are copied.
func (b *Batches) add(batches, chunk []byte) {
	if 2*len(batches) < len(chunk) {
		batches = bytes.Clone(batches)
		b.Held += cap(batches)
	} else {
		b.Held += cap(chunk)
	}
	b.Parts = append(b.Parts, batches)
}
