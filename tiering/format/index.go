package format

import (
	"fmt"
)

// Index holds what look-ups in a segment object need: the decoded hot bytes. It is shared
// and read only.
type Index struct {
	Description *Description
	Chunks      Directory
	Parts       []Part
}

// ParseIndex decodes and checks the hot bytes of a segment: those from its description to its end.
// objectBytes is the segment's size in its object.
func ParseIndex(hot []byte, objectBytes int64) (*Index, error) {
	if len(hot) < minHotBytes || int64(len(hot)) > objectBytes {
		return nil, fmt.Errorf("%w: %d of %d bytes are no end of a segment object", ErrCorrupt, len(hot), objectBytes)
	}
	trailer, err := ParseTrailer(hot[len(hot)-TrailerSize:], objectBytes)
	if err != nil {
		return nil, err
	}
	from := objectBytes - int64(len(hot))
	if trailer.TablePosition < from {
		return nil, fmt.Errorf("%w: part table at %d, the hot bytes begin at %d", ErrCorrupt, trailer.TablePosition, from)
	}
	x := &Index{}
	if x.Parts, err = trailer.ParseTable(hot[trailer.TablePosition-from : len(hot)-TrailerSize]); err != nil {
		return nil, err
	}
	description, err := x.hotPart(PartDescription, hot, from)
	if err != nil {
		return nil, err
	}
	if x.Description, err = parseDescription(description); err != nil {
		return nil, err
	}
	directory, err := x.hotPart(PartDirectory, hot, from)
	if err != nil {
		return nil, err
	}
	if x.Chunks, err = parseDirectory(directory); err != nil {
		return nil, err
	}
	return x, x.check()
}

// HotBytes returns the number of hot bytes at the end of a segment, from its part table.
func HotBytes(parts []Part, objectBytes int64) (int64, error) {
	for i := range parts {
		if parts[i].Type == PartDescription {
			return objectBytes - parts[i].Position, nil
		}
	}
	return 0, fmt.Errorf("%w: segment object without a description", ErrCorrupt)
}

// Part returns where a part is. It returns false if the segment does not have the part.
func (x *Index) Part(t PartType) (Part, bool) {
	for i := range x.Parts {
		if x.Parts[i].Type == t {
			return x.Parts[i], true
		}
	}
	return Part{}, false
}

// Cost returns approximately how many bytes of memory the index takes.
func (x *Index) Cost() int64 { return 1024 + int64(len(x.Chunks))*64 + int64(len(x.Parts))*32 }

// hotPart returns the content of a part that has to be among the hot bytes.
func (x *Index) hotPart(t PartType, hot []byte, from int64) ([]byte, error) {
	p, ok := x.Part(t)
	if !ok || p.Position < from {
		return nil, fmt.Errorf("%w: segment object has no %s in its last %d bytes", ErrCorrupt, t, len(hot))
	}
	b := hot[p.Position-from : p.End()-from]
	if Checksum(b) != p.CRC32C {
		return nil, fmt.Errorf("%w: %s has checksum %08x, want %08x", ErrCorrupt, t, Checksum(b), p.CRC32C)
	}
	return b, nil
}

// check checks that the chunks are those of the log in the description, and that they are stored as
// in a segment without features.
func (x *Index) check() error {
	d, plain, batches := x.Description, int64(0), int64(0)
	for i := range x.Chunks {
		c := &x.Chunks[i]
		if c.StoredBytes != c.PlainBytes || c.BaseOffset >= d.EndOffset || c.PlainBytes > int(d.ChunkBytes) && c.Batches != 1 {
			return fmt.Errorf("%w: chunk %d of the directory: %+v", ErrCorrupt, i, *c)
		}
		plain += int64(c.PlainBytes)
		batches += int64(c.Batches)
	}
	first, last := &x.Chunks[0], &x.Chunks[len(x.Chunks)-1]
	if plain != d.LogBytes || batches != d.Batches || first.BaseOffset < d.BaseOffset || last.MaxTimestamp != d.MaxTimestamp {
		return fmt.Errorf("%w: chunks of %d bytes and %d batches, the description has %d and %d", ErrCorrupt, plain, batches, d.LogBytes, d.Batches)
	}
	for i := range x.Parts {
		if x.Parts[i].Position < last.End() {
			return fmt.Errorf("%w: %s lies in the log", ErrCorrupt, x.Parts[i].Type)
		}
	}
	return nil
}
