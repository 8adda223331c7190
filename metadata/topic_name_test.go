package metadata

import (
	"errors"
	"strings"
	"testing"
)

func TestValidateTopicName(t *testing.T) {
	for _, name := range []string{"a", "A.b_c-9", "__consumer_offsets", "...", "-", strings.Repeat("x", 249)} {
		if err := ValidateTopicName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", strings.Repeat("x", 250), "a b", "a/b", "ä", "a\x00", "a:b", "a*"} {
		if err := ValidateTopicName(name); !errors.Is(err, ErrInvalidTopicName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
