//go:build invariants

package broker

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/varvelog/varve/invariants"
)

// TestViolationEndsTheProcess: other panics only end a connection. After a violated invariant the
// broker's state is wrong, so it must not continue.
func TestViolationEndsTheProcess(t *testing.T) {
	c := connection{broker: &Broker{metrics: newMetrics(nil, nil)}, log: slog.New(slog.DiscardHandler)}
	if err := c.guard(t.Context(), func() error { panic("another one") }); !errors.Is(err, errPanic) {
		t.Errorf("a panic: %v", err)
	}
	defer func() {
		if v, ok := recover().(*invariants.Violation); !ok || v.ID != "S1" {
			t.Errorf("recovered %v", v)
		}
	}()
	err := c.guard(t.Context(), func() error {
		inParallel(1, []func(){func() { invariants.Violated("S1", "a log", "it is broken") }})
		return nil
	})
	t.Errorf("the violation was guarded: %v", err)
}
