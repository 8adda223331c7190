package objstoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/objstore"
)

func (t suite) deleteIsIdempotent() {
	put(t.T, t.b, "a/b", "x")
	put(t.T, t.b, "a/c", "x")
	for range 2 {
		if err := t.b.Delete(t.Context(), "a/b"); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
	if err := t.b.Delete(t.Context(), "never/was"); err != nil {
		t.Errorf("Delete of what never was: %v", err)
	}
	if keys := list(t.T, t.b, ""); !slices.Equal(keys, []string{"a/c"}) {
		t.Errorf("keys %q", keys)
	}
}

func (t suite) deleteAll() {
	const n = 1010 // stores delete at most a thousand at a time
	var g errgroup.Group
	g.SetLimit(16)
	doomed := make([]string, n)
	for i := range n {
		doomed[i] = fmt.Sprintf("doomed/%05d", i)
		if i%100 == 7 {
			continue // no object under this key
		}
		g.Go(func() error {
			return t.b.Put(t.Context(), doomed[i], strings.NewReader("x"), objstore.PutOptions{})
		})
	}
	g.Go(func() error { return t.b.Put(t.Context(), "stays", strings.NewReader("x"), objstore.PutOptions{}) })
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	keys := slices.Clone(doomed)
	for range 2 {
		if err := t.b.DeleteAll(t.Context(), keys); err != nil {
			t.Errorf("DeleteAll: %v", err)
		}
	}
	if !slices.Equal(keys, doomed) {
		t.Error("DeleteAll has changed its argument")
	}
	if left := list(t.T, t.b, ""); !slices.Equal(left, []string{"stays"}) {
		t.Errorf("%d objects are left: %.200q", len(left), left)
	}
	if err := t.b.DeleteAll(t.Context(), nil); err != nil {
		t.Errorf("DeleteAll of nothing: %v", err)
	}
}

func (t suite) deleteAllGoesOnAfterABadKey() {
	put(t.T, t.b, "a", "x")
	put(t.T, t.b, "z", "x")
	err := t.b.DeleteAll(t.Context(), []string{"a", "not/../clean", "z"})
	left, ok := errors.AsType[*objstore.DeleteError](err)
	if !ok || !errors.Is(err, objstore.ErrInvalidKey) || len(left.Failed) != 1 || !errors.Is(left.Failed["not/../clean"], objstore.ErrInvalidKey) {
		t.Errorf("DeleteAll: %v", err)
	}
	if keys := list(t.T, t.b, ""); len(keys) != 0 {
		t.Errorf("left: %q", keys)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = t.b.DeleteAll(ctx, []string{"a", "z"})
	if _, ok = errors.AsType[*objstore.DeleteError](err); !ok || !errors.Is(err, context.Canceled) || errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("DeleteAll of a caller who has gone: %v", err)
	}
}

func (t suite) checkLeavesNothing() {
	for range 2 {
		if err := t.b.Check(t.Context()); err != nil {
			t.Errorf("Check: %v", err)
		}
	}
	if keys := list(t.T, t.b, ""); len(keys) != 0 {
		t.Errorf("keys %q", keys)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := t.b.Check(ctx); !errors.Is(err, context.Canceled) || errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("Check of a caller who has gone: %v", err)
	}
}
