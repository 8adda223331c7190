package groups

import "unicode/utf16"

// partitionFor is the partition of __consumer_offsets that a group belongs to:
// the same as with Kafka, so that its tools find it there.
func partitionFor(groupID string, partitions int32) int32 {
	h := javaHash(groupID)
	switch {
	case h == -1<<31: // has no absolute value
		h = 0
	case h < 0:
		h = -h
	}
	return h % partitions
}

// javaHash is Java's String.hashCode.
func javaHash(s string) int32 {
	var h int32
	for _, r := range s {
		if r1, r2 := utf16.EncodeRune(r); r1 != '\uFFFD' {
			h = 31*(31*h+r1) + r2
			continue
		}
		h = 31*h + r
	}
	return h
}

// utf16Len is Java's String.length.
func utf16Len(s string) int {
	n := 0
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}
