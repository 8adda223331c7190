package metadata

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestBackoffGrowsToItsLimit(t *testing.T) {
	b := backoff{min: 10 * time.Millisecond, max: 80 * time.Millisecond}
	for range 3 {
		for _, limit := range []int{10, 20, 40, 80, 80, 80} {
			if d := b.next(); d < b.min/2 || d >= time.Duration(limit)*time.Millisecond+b.min/2 {
				t.Errorf("pause %v at a limit of %d ms", d, limit)
			}
		}
		b.reset()
	}
}

func TestBackoffEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := backoff{min: time.Hour, max: time.Hour}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.sleep(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("sleep = %v", err)
		}
		if err := b.sleep(t.Context()); err != nil {
			t.Errorf("sleep = %v", err)
		}
	})
}
