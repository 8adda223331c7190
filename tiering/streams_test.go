package tiering

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

// TestStreamsAreGivenInTurn: a partition that gives a stream back and asks again goes after those
// that wait, and one that has given up keeps no place.
func TestStreamsAreGivenInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStreams(3)
		if n, err := s.take(t.Context(), 5); n != 3 || err != nil {
			t.Fatalf("took %d streams, %v; want all 3", n, err)
		}
		var order []int
		var errs []error
		wait := func(ctx context.Context, id, most int) {
			go func() {
				n, err := s.take(ctx, most)
				errs = append(errs, err)
				for range n {
					order = append(order, id)
				}
			}()
			synctest.Wait()
		}
		gone, giveUp := context.WithCancel(t.Context())
		wait(gone, 1, 1)
		wait(t.Context(), 2, 1)
		giveUp()
		synctest.Wait()
		if len(errs) != 1 || !errors.Is(errs[0], ErrUnavailable) {
			t.Fatalf("who gave up got %v, want one ErrUnavailable", errs)
		}
		go func() { // before the one that waits can run
			s.give(1)
			n, _ := s.take(t.Context(), 5)
			for range n {
				order = append(order, 3)
			}
		}()
		synctest.Wait()
		s.give(2)
		synctest.Wait()
		if want := []int{2, 3, 3}; !slices.Equal(order, want) {
			t.Errorf("streams went to %v, want %v", order, want)
		}
	})
}
