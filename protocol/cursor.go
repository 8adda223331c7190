package protocol

import (
	"encoding/binary"
	"fmt"
	"math"
)

// cursor walks over encoded fields without building anything. The first error sticks and empties
// src, so every later read fails.
type cursor struct {
	src []byte
	// elements counts the array elements and tagged fields so far: the allocations of a decoder.
	elements int
	err      error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format+": %w", append(args, ErrMalformed)...)
	}
	c.src = nil
}

func (c *cursor) span(n int) []byte {
	if n < 0 || n > len(c.src) {
		c.fail("field of %d bytes where %d are left", n, len(c.src))
		return nil
	}
	p := c.src[:n]
	c.src = c.src[n:]
	return p
}

func (c *cursor) int8() int8 {
	if p := c.span(1); p != nil {
		return int8(p[0])
	}
	return 0
}

func (c *cursor) int16() int16 {
	if p := c.span(2); p != nil {
		return int16(binary.BigEndian.Uint16(p))
	}
	return 0
}

func (c *cursor) int32() int32 {
	if p := c.span(4); p != nil {
		return int32(binary.BigEndian.Uint32(p))
	}
	return 0
}

// uvarint reads an unsigned varint of at most 32 bits.
func (c *cursor) uvarint() uint32 {
	v, n := binary.Uvarint(c.src[:min(len(c.src), 5)])
	if n <= 0 || v > math.MaxUint32 {
		c.fail("bad varint")
		return 0
	}
	c.src = c.src[n:]
	return uint32(v)
}

// compactLen reads the length of a compact string, byte field or array, which is stored as length +
// 1. -1 is null.
func (c *cursor) compactLen() int { return int(c.uvarint()) - 1 }

// nullableString reads a non-compact nullable string. Request headers use it in every version.
func (c *cursor) nullableString() []byte {
	n := c.int16()
	if n < 0 {
		return nil
	}
	return c.span(int(n))
}

// tagCount reads the number of tagged fields in a section.
func (c *cursor) tagCount() uint32 {
	n := c.uvarint()
	if n > maxTags {
		c.fail("%d tagged fields in one section", n)
		return 0
	}
	return n
}

// tag reads one tagged field.
func (c *cursor) tag() (number uint32, body []byte) {
	c.elements++
	number = c.uvarint()
	size := c.uvarint()
	if uint64(size) > uint64(len(c.src)) {
		c.fail("tagged field of %d bytes where %d are left", size, len(c.src))
		return 0, nil
	}
	return number, c.span(int(size))
}

// skipTags walks over one section of tagged fields.
func (c *cursor) skipTags() {
	for n := c.tagCount(); n > 0 && c.err == nil; n-- {
		c.tag()
	}
}
