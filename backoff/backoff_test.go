package backoff

import (
	"testing"
	"time"
)

func TestPausesDoubleUpToTheLimit(t *testing.T) {
	b := Backoff{Min: 10 * time.Millisecond, Max: 80 * time.Millisecond}
	for range 2 {
		if !b.First() {
			t.Error("there was no failure yet")
		}
		for _, ms := range []int64{10, 20, 40, 80, 80, 80} {
			limit := time.Duration(ms) * time.Millisecond
			if pause := b.Next(); pause < limit/2 || pause > limit {
				t.Errorf("pause %v under the limit %v", pause, limit)
			}
		}
		b.Reset()
	}
}
