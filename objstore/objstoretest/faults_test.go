package objstoretest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/objstore"
)

func faulty(t *testing.T) *Faults {
	t.Helper()
	b, err := objstore.Open(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	return NewFaults(b)
}

func TestFaultsHitWhatTheyAreAimedAt(t *testing.T) {
	f := faulty(t)
	full := errors.New("quota exceeded")
	f.Add(Fault{Kind: Fail, Op: PutOp, Key: "manifest", Skip: 1, Times: 2, Err: full})
	for i, want := range []bool{false, true, true, false} {
		if err := f.Put(t.Context(), "log", strings.NewReader("x"), objstore.PutOptions{}); err != nil {
			t.Errorf("another key: %v", err)
		}
		if err := f.Delete(t.Context(), "manifest"); err != nil {
			t.Errorf("another operation: %v", err)
		}
		err := f.Put(t.Context(), "the/manifest/1", strings.NewReader("x"), objstore.PutOptions{})
		if errors.Is(err, ErrInjected) != want || errors.Is(err, full) != want || (err != nil) != want {
			t.Errorf("Put %d: %v", i, err)
		}
	}
	if f.Calls(PutOp) != 8 || f.Calls(DeleteOp) != 4 || f.Calls(AnyOp) != 12 {
		t.Errorf("%d puts, %d deletes, %d in all", f.Calls(PutOp), f.Calls(DeleteOp), f.Calls(AnyOp))
	}
	remove := f.Add(Fault{Kind: Fail})
	if err := f.Delete(t.Context(), "k"); !errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("down: %v", err)
	}
	remove()
	if err := f.Delete(t.Context(), "k"); err != nil {
		t.Errorf("up again: %v", err)
	}
}

func TestFaultsDoWhatTheySay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := faulty(t)
		put(t, f, "k", "0123456789")

		f.Add(Fault{Kind: FailAfter, Op: PutOp, Times: 1})
		if err := f.Put(t.Context(), "k", strings.NewReader("abcdefghij"), objstore.PutOptions{}); !errors.Is(err, ErrInjected) {
			t.Errorf("FailAfter: %v", err)
		}
		if got := get(t, f, "k"); got != "abcdefghij" {
			t.Errorf("FailAfter has not done its work: %q", got)
		}

		f.Add(Fault{Kind: PartialRead, Times: 1})
		p := make([]byte, 10)
		if n, err := f.GetRange(t.Context(), "k", 0, p); n != 5 || string(p) != "abcde\x00\x00\x00\x00\x00" || !errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("PartialRead: %d, %q, %v", n, p, err)
		}

		remove := f.Add(Fault{Kind: StaleList})
		put(t, f, "new", "x")
		if keys := list(t, f, ""); len(keys) != 1 || keys[0] != "k" {
			t.Errorf("StaleList: %q", keys)
		}
		remove()
		if keys := list(t, f, ""); len(keys) != 2 {
			t.Errorf("List: %q", keys)
		}

		f.Add(Fault{Kind: Slow, Op: StatOp, Latency: time.Minute})
		begin := time.Now()
		if _, err := f.Stat(t.Context(), "k"); err != nil || time.Since(begin) != time.Minute {
			t.Errorf("Slow: %v, %v", time.Since(begin), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.Stat(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Slow under a deadline: %v", err)
		}
	})
}

// TestFaultsHitKeysOfABatch checks that faults hit the keys of a DeleteAll one by one, as if each
// were deleted by itself. The request counts once.
func TestFaultsHitKeysOfABatch(t *testing.T) {
	f := faulty(t)
	for _, key := range []string{"a", "b", "c", "d", "e"} {
		put(t, f, key, "x")
	}
	f.Add(Fault{Kind: Fail, Op: DeleteOp, Skip: 1, Times: 2})           // b and c
	f.Add(Fault{Kind: FailAfter, Op: DeleteOp, Key: "d"})               // it is deleted
	f.Add(Fault{Kind: Fail, Op: PutOp, Err: errors.New("not of them")}) // another operation
	err := f.DeleteAll(t.Context(), []string{"a", "b", "c", "d", "e"})
	left, ok := errors.AsType[*objstore.DeleteError](err)
	if !ok || len(left.Failed) != 3 {
		t.Fatalf("DeleteAll: %v", err)
	}
	for _, key := range []string{"b", "c", "d"} {
		if why := left.Failed[key]; !errors.Is(why, ErrInjected) || !errors.Is(why, objstore.ErrUnavailable) {
			t.Errorf("%s: %v", key, why)
		}
	}
	if keys := list(t, f, ""); len(keys) != 2 || keys[0] != "b" || keys[1] != "c" {
		t.Errorf("%q are left", keys)
	}
	if err = f.DeleteAll(t.Context(), []string{"b", "c"}); err != nil {
		t.Errorf("DeleteAll again: %v", err)
	}
	if f.Calls(DeleteOp) != 2 {
		t.Errorf("%d requests", f.Calls(DeleteOp))
	}
}
