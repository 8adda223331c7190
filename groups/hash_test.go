package groups

import "testing"

// Values of Java's String.hashCode.
func TestJavaHash(t *testing.T) {
	for s, want := range map[string]int32{
		"":                   0,
		"a":                  97,
		"foo":                101574,
		"hello":              99162322,
		"polygenelubricants": -1 << 31,
		"\u00e9":             233,
		"\U0001F600":         1772899, // two units in Java
		"a\U0001F600b":       31*(31*31*97+1772899) + 98,
	} {
		if got := javaHash(s); got != want {
			t.Errorf("hash of %q is %d, want %d", s, got, want)
		}
	}
}

func TestPartitionFor(t *testing.T) {
	for id, want := range map[string]int32{
		"":                   0,
		"foo":                24,
		"hello":              22,
		"polygenelubricants": 0, // its hash has no absolute value
		"teheran":            7, // a negative hash
	} {
		h := javaHash(id)
		if got := partitionFor(id, 50); got != want {
			t.Errorf("group %q (hash %d) is in partition %d, want %d", id, h, got, want)
		}
	}
}

func TestUTF16Len(t *testing.T) {
	for s, want := range map[string]int{"": 0, "abc": 3, "h\u00e9": 2, "\U0001F600": 2} {
		if got := utf16Len(s); got != want {
			t.Errorf("length of %q is %d, want %d", s, got, want)
		}
	}
}
