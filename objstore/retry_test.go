package objstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
)

// retried returns a bucket with five attempts over one with faults.
func retried(t *testing.T) (objstore.Bucket, *objstoretest.Faults) {
	t.Helper()
	faults := objstoretest.NewFaults(open(t, "mem://"))
	return objstore.Retry(faults, objstore.DefaultRetryOptions()), faults
}

func TestRetryRepeatsWhatMayGoAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, faults := retried(t)
		faults.Add(objstoretest.Fault{Kind: objstoretest.Fail, Op: objstoretest.PutOp, Times: 4})
		if err := b.Put(t.Context(), "k", strings.NewReader("content"), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		faults.Add(objstoretest.Fault{Kind: objstoretest.PartialRead, Times: 4})
		p := make([]byte, 7)
		if n, err := b.GetRange(t.Context(), "k", 0, p); err != nil || string(p[:n]) != "content" {
			t.Errorf("GetRange: %q, %v", p[:n], err)
		}
		faults.Add(objstoretest.Fault{Kind: objstoretest.FailAfter, Op: objstoretest.DeleteOp, Times: 1})
		if err := b.Delete(t.Context(), "k"); err != nil {
			t.Errorf("Delete: %v", err)
		}
		if _, err := b.Stat(t.Context(), "k"); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("Stat: %v", err)
		}
	})
}

func TestRetryGivesUpAfterItsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, faults := retried(t)
		faults.Add(objstoretest.Fault{Kind: objstoretest.Fail})
		begin := time.Now()
		_, err := b.Stat(t.Context(), "k")
		if !errors.Is(err, objstore.ErrUnavailable) || faults.Calls(objstoretest.StatOp) != 5 {
			t.Errorf("%d attempts: %v", faults.Calls(objstoretest.StatOp), err)
		}
		// Full jitter: at most 100+200+400+800 ms.
		if waited := time.Since(begin); waited == 0 || waited > 1500*time.Millisecond {
			t.Errorf("waited %v", waited)
		}
	})
}

func TestRetryDoesNotRepeatAnswers(t *testing.T) {
	b, faults := retried(t)
	if _, err := b.Stat(t.Context(), "k"); !errors.Is(err, objstore.ErrNotFound) {
		t.Error(err)
	}
	faults.Add(objstoretest.Fault{Kind: objstoretest.Fail, Err: errors.New("access denied")})
	if err := b.Delete(t.Context(), "k"); err == nil {
		t.Error("Delete succeeded")
	}
	if n := faults.Calls(objstoretest.AnyOp); n != 2 {
		t.Errorf("%d attempts for two answers", n)
	}
}

func TestRetryEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := objstoretest.NewFaults(open(t, "mem://"))
		b := objstore.Retry(faults, objstore.RetryOptions{Attempts: 1000, FirstWait: time.Minute, MaxWait: time.Hour})
		faults.Add(objstoretest.Fault{Kind: objstoretest.Fail})
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		begin := time.Now()
		_, err := b.Stat(ctx, "k")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > time.Hour {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

// The answer of a conditional Put is lost, and the next attempt finds its object: the Put has
// succeeded.
func TestRetryKnowsItsOwnObject(t *testing.T) {
	for _, size := range []int{0, 7, 1 << 20, 1<<20 + 1, 3 << 20} {
		content := strings.Repeat("x", size)
		synctest.Test(t, func(t *testing.T) {
			b, faults := retried(t)
			faults.Add(objstoretest.Fault{Kind: objstoretest.FailAfter, Op: objstoretest.PutOp, Times: 1})
			body := strings.NewReader("before" + content)
			if _, err := body.Seek(6, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			if err := b.Put(t.Context(), "k", body, objstore.PutOptions{IfAbsent: true}); err != nil {
				t.Errorf("%d bytes: %v", size, err)
			}
			if n := faults.Calls(objstoretest.PutOp); n != 2 {
				t.Errorf("%d attempts", n)
			}
			// A later Put loses, even with the same bytes.
			if err := b.Put(t.Context(), "k", strings.NewReader(content), objstore.PutOptions{IfAbsent: true}); !errors.Is(err, objstore.ErrExists) {
				t.Errorf("second Put: %v", err)
			}
		})
	}
}

// The first attempt fails without effect, and another writer is faster than the second.
func TestRetryDoesNotClaimTheObjectOfAnother(t *testing.T) {
	const ours = "ours and more"
	for _, theirs := range []string{"", "ours", "ours and morE", "ours and more of it"} {
		synctest.Test(t, func(t *testing.T) {
			b, faults := retried(t)
			faults.Add(objstoretest.Fault{Kind: objstoretest.Fail, Op: objstoretest.PutOp, Skip: 1, Times: 1})
			if err := b.Put(t.Context(), "k", strings.NewReader(theirs), objstore.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := b.Put(t.Context(), "k", strings.NewReader(ours), objstore.PutOptions{IfAbsent: true}); !errors.Is(err, objstore.ErrExists) {
				t.Errorf("over %q: %v", theirs, err)
			}
		})
	}
}

// keysOf is a Bucket that records the keys of each DeleteAll.
type keysOf struct {
	objstore.Bucket
	calls [][]string
}

func (k *keysOf) DeleteAll(ctx context.Context, keys []string) error {
	k.calls = append(k.calls, slices.Clone(keys))
	return k.Bucket.DeleteAll(ctx, keys)
}

func TestRetryRepeatsOnlyTheDeletionsThatMayGoWell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := objstoretest.NewFaults(open(t, "mem://"))
		inner := &keysOf{Bucket: faults}
		b := objstore.Retry(inner, objstore.DefaultRetryOptions())
		denied := errors.New("access denied")
		faults.Add(objstoretest.Fault{Kind: objstoretest.Fail, Op: objstoretest.DeleteOp, Key: "denied", Err: denied})
		faults.Add(objstoretest.Fault{Kind: objstoretest.Fail, Op: objstoretest.DeleteOp, Key: "slow", Times: 3})
		faults.Add(objstoretest.Fault{Kind: objstoretest.FailAfter, Op: objstoretest.DeleteOp, Key: "lost", Times: 1})
		keys := []string{"denied", "fine", "lost", "slow-1", "slow-2"}
		for _, key := range keys {
			if err := b.Put(t.Context(), key, strings.NewReader("x"), objstore.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		err := b.DeleteAll(t.Context(), keys)
		left, ok := errors.AsType[*objstore.DeleteError](err)
		if !ok || len(left.Failed) != 1 || !errors.Is(left.Failed["denied"], denied) || errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("DeleteAll: %v", err)
		}
		if want := [][]string{keys, {"lost", "slow-1", "slow-2"}, {"slow-1"}}; !slices.EqualFunc(inner.calls, want, slices.Equal) {
			t.Errorf("asked for %q, not %q", inner.calls, want)
		}
		var there []string
		for info, listErr := range b.List(t.Context(), "") {
			if listErr != nil {
				t.Fatal(listErr)
			}
			there = append(there, info.Key)
		}
		if !slices.Equal(there, []string{"denied"}) {
			t.Errorf("left: %q", there)
		}
		// A permanent outage must fail with all remaining keys and their errors.
		faults.Add(objstoretest.Fault{Kind: objstoretest.Fail, Op: objstoretest.DeleteOp, Key: "gone"})
		inner.calls = nil
		err = b.DeleteAll(t.Context(), []string{"denied", "gone"})
		left, ok = errors.AsType[*objstore.DeleteError](err)
		if !ok || len(left.Failed) != 2 || !errors.Is(left.Failed["gone"], objstore.ErrUnavailable) || !errors.Is(err, denied) || len(inner.calls) != 5 {
			t.Errorf("DeleteAll in %d calls: %v", len(inner.calls), err)
		}
	})
}

func TestRetryGoesOnWithABrokenListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, faults := retried(t)
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprintf("k/%02d", i))
			if err := b.Put(t.Context(), want[i], strings.NewReader("x"), objstore.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		faults.Add(objstoretest.Fault{Kind: objstoretest.FailAfter, Op: objstoretest.ListOp, Times: 1})
		var got []string
		for info, err := range b.List(t.Context(), "k/") {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, info.Key)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
		faults.Add(objstoretest.Fault{Kind: objstoretest.Fail, Op: objstoretest.ListOp})
		for _, err := range b.List(t.Context(), "k/") {
			if !errors.Is(err, objstore.ErrUnavailable) {
				t.Errorf("List of a store that is down: %v", err)
			}
		}
	})
}
