package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata/kv"
)

// TestStartOutlastsAnAbsentMajority: etcd's majority is lost after the store was opened, and
// returns or does not return.
func TestStartOutlastsAnAbsentMajority(t *testing.T) {
	refused := errors.New("refused")
	silent := fmt.Errorf("get: %w", kv.ErrUnavailable)
	for name, c := range map[string]struct {
		outcomes []error // the last one repeats
		want     error
		attempts int // until the time is over
	}{
		"it is there":                {[]error{nil}, nil, 1},
		"it is back":                 {[]error{silent, silent, silent, nil}, nil, 4},
		"it is back, and refuses":    {[]error{silent, refused}, refused, 2},
		"it does not come back":      {[]error{silent}, kv.ErrUnavailable, 0},
		"another error is no reason": {[]error{refused}, refused, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{Options: Options{Config: config.Broker{}}, log: slog.New(slog.DiscardHandler)}
				attempts := 0
				err := s.persist(t.Context(), "test", func(context.Context) error {
					attempts++
					return c.outcomes[min(attempts, len(c.outcomes))-1]
				})
				if !errors.Is(err, c.want) || c.want == nil && err != nil || c.attempts > 0 && attempts != c.attempts || c.attempts == 0 && attempts < 10 {
					t.Errorf("%d attempts: %v", attempts, err)
				}
			})
		})
	}
}
