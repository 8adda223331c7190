package tiering

import "bytes"

// Batches are consecutive whole record batches of the remote tier, in one part for each chunk that
// they come from. The bytes are shared with the cache and with other readers: read only. They stay
// valid while they are referenced.
type Batches struct {
	Parts [][]byte
	// Held is how many bytes of memory the parts keep alive: about their own size, or more.
	Held int
}

// Len returns the number of bytes.
func (b *Batches) Len() int {
	n := 0
	for _, part := range b.Parts {
		n += len(part)
	}
	return n
}

// add adds batches that are in a chunk. They keep the whole chunk alive, unless that is more than
// twice their own size: then they are copied.
func (b *Batches) add(batches, chunk []byte) {
	if 2*len(batches) < len(chunk) {
		batches = bytes.Clone(batches)
		b.Held += cap(batches)
	} else {
		b.Held += cap(chunk)
	}
	b.Parts = append(b.Parts, batches)
}
