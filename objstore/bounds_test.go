package objstore_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
)

func TestDeadlineEndsAttempts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := objstoretest.NewFaults(open(t, "mem://"))
		b := objstore.Deadline(faults, 10*time.Second)
		content := strings.Repeat("x", 20<<20)
		if err := b.Put(t.Context(), "k", strings.NewReader(content), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		remove := faults.Add(objstoretest.Fault{Kind: objstoretest.Slow, Latency: time.Hour})
		p := make([]byte, len(content))
		for name, c := range map[string]struct {
			call  func(ctx context.Context) error
			after time.Duration
		}{
			"Stat":      {func(ctx context.Context) error { _, err := b.Stat(ctx, "k"); return err }, 10 * time.Second},
			"Delete":    {func(ctx context.Context) error { return b.Delete(ctx, "k") }, 10 * time.Second},
			"DeleteAll": {func(ctx context.Context) error { return b.DeleteAll(ctx, make100(t)) }, 12 * time.Second},
			"List": {func(ctx context.Context) (failed error) {
				for _, err := range b.List(ctx, "") {
					failed = err
				}
				return failed
			}, 30 * time.Second},
			"Put": {func(ctx context.Context) error {
				return b.Put(ctx, "k", strings.NewReader(content), objstore.PutOptions{})
			}, 30 * time.Second},
			"GetRange": {func(ctx context.Context) error { _, err := b.GetRange(ctx, "k", 0, p); return err }, 30 * time.Second},
		} {
			begin := time.Now()
			err := c.call(t.Context())
			if took := time.Since(begin); !errors.Is(err, objstore.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || took != c.after {
				t.Errorf("%s: after %v: %v", name, took, err)
			}
			// A deadline of the caller must not look like a failure of the store.
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err = c.call(ctx); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, objstore.ErrUnavailable) {
				t.Errorf("%s under a deadline of the caller's: %v", name, err)
			}
			cancel()
		}
		remove()
	})
}

// make100 returns a hundred keys.
func make100(t *testing.T) []string {
	t.Helper()
	keys := make([]string, 100)
	for i := range keys {
		keys[i] = fmt.Sprintf("k%d", i)
	}
	return keys
}

// slowList yields a hundred objects, each but the first after a wait.
type slowList struct {
	objstore.Bucket
	each time.Duration
}

func (s slowList) List(ctx context.Context, _ string) iter.Seq2[objstore.ObjectInfo, error] {
	return func(yield func(objstore.ObjectInfo, error) bool) {
		for i := range 100 {
			select {
			case <-ctx.Done():
				yield(objstore.ObjectInfo{}, ctx.Err())
				return
			case <-time.After(s.each * time.Duration(min(i, 1))):
			}
			if !yield(objstore.ObjectInfo{Key: fmt.Sprint(i)}, nil) {
				return
			}
		}
	}
}

// A listing may take long in total, and the caller may take even longer. Only a single step is
// bounded.
func TestDeadlineOfAListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := open(t, "mem://")
		n := 0
		for _, err := range objstore.Deadline(slowList{inner, 29 * time.Second}, 10*time.Second).List(t.Context(), "") {
			if err != nil {
				t.Fatalf("after %d: %v", n, err)
			}
			n++
			wait(time.Minute)
		}
		if n != 100 {
			t.Errorf("%d listed", n)
		}
		n = 0
		for _, err := range objstore.Deadline(slowList{inner, 31 * time.Second}, 10*time.Second).List(t.Context(), "") {
			if n++; n == 1 && err == nil {
				continue
			}
			if n > 2 || !errors.Is(err, objstore.ErrUnavailable) || errors.Is(err, context.Canceled) {
				t.Errorf("%d: %v", n, err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, err := range objstore.Deadline(slowList{inner, 31 * time.Second}, 10*time.Second).List(ctx, "") {
			if err != nil && (!errors.Is(err, context.DeadlineExceeded) || errors.Is(err, objstore.ErrUnavailable)) {
				t.Errorf("under a deadline of the caller's: %v", err)
			}
		}
	})
}

// hardened returns a bucket with one request at a time and ten seconds per attempt.
func hardened(t *testing.T) (objstore.Bucket, *objstoretest.Faults) {
	t.Helper()
	faults := objstoretest.NewFaults(open(t, "mem://"))
	o := objstore.DefaultHardenOptions()
	o.AttemptTimeout, o.MaxRequests = 10*time.Second, 1
	o.Retry = objstore.RetryOptions{Attempts: 3, FirstWait: time.Hour, MaxWait: time.Hour}
	return objstore.Harden(faults, o), faults
}

// A request that gets no answer must be repeated while the caller still waits.
func TestHardenRepeatsWhatHangsWithinThePatienceOfCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := objstoretest.NewFaults(open(t, "mem://"))
		b := objstore.Harden(faults, objstore.DefaultHardenOptions())
		if err := b.Put(t.Context(), "k", strings.NewReader(strings.Repeat("x", 4<<20)), objstore.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		faults.Add(objstoretest.Fault{Kind: objstoretest.Slow, Op: objstoretest.GetOp, Latency: time.Hour, Times: 2})
		ctx, cancel := context.WithTimeout(t.Context(), objstore.RequestTimeout)
		defer cancel()
		if _, err := b.GetRange(ctx, "k", 0, make([]byte, 4<<20)); err != nil {
			t.Error(err)
		}
	})
}

func TestHardenDoesNotCountTheWaitForATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, faults := hardened(t)
		faults.Add(objstoretest.Fault{Kind: objstoretest.Slow, Latency: 9 * time.Second})
		var g errgroup.Group
		for range 10 {
			g.Go(func() error { return b.Delete(t.Context(), "k") })
		}
		if err := g.Wait(); err != nil || faults.Calls(objstoretest.DeleteOp) != 10 {
			t.Errorf("%d requests: %v", faults.Calls(objstoretest.DeleteOp), err)
		}
	})
}

func TestHardenWaitsToRetryWithoutATurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, faults := hardened(t)
		faults.Add(objstoretest.Fault{Kind: objstoretest.Fail, Key: "broken"})
		var g errgroup.Group
		g.Go(func() error {
			if err := b.Delete(t.Context(), "broken"); !errors.Is(err, objstore.ErrUnavailable) {
				return fmt.Errorf("Delete: %w", errors.Join(err, errors.New("not unavailable")))
			}
			return nil
		})
		synctest.Wait() // it waits for its second attempt
		begin := time.Now()
		if err := b.Delete(t.Context(), "k"); err != nil || time.Since(begin) > 0 {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// wait lets virtual time pass.
func wait(d time.Duration) { <-time.After(d) }

// gauge is a Bucket that records the largest number of concurrent requests.
type gauge struct {
	objstore.Bucket
	now, most atomic.Int64
}

func (g *gauge) Stat(context.Context, string) (objstore.ObjectInfo, error) {
	now := g.now.Add(1)
	for most := g.most.Load(); now > most && !g.most.CompareAndSwap(most, now); most = g.most.Load() {
	}
	wait(time.Second)
	g.now.Add(-1)
	return objstore.ObjectInfo{}, nil
}

func TestLimitBoundsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &gauge{Bucket: open(t, "mem://")}
		b := objstore.Limit(inner, 3)
		begin := time.Now()
		var g errgroup.Group
		for range 12 {
			g.Go(func() error { _, err := b.Stat(t.Context(), "k"); return err })
		}
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); inner.most.Load() != 3 || took != 4*time.Second {
			t.Errorf("%d at a time, %v in all", inner.most.Load(), took)
		}
	})
}

func TestLimitWaitsUnderTheCallersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := objstoretest.NewFaults(open(t, "mem://"))
		faults.Add(objstoretest.Fault{Kind: objstoretest.Slow, Op: objstoretest.PutOp, Latency: time.Hour})
		b := objstore.Limit(faults, 1)
		var g errgroup.Group
		g.Go(func() error {
			return b.Put(t.Context(), "slow", strings.NewReader("x"), objstore.PutOptions{})
		})
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Stat(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Stat: %v", err)
		}
		for _, err := range b.List(ctx, "") {
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("List: %v", err)
			}
		}
		if err := g.Wait(); err != nil {
			t.Error(err)
		}
		if _, err := b.Stat(t.Context(), "slow"); err != nil {
			t.Errorf("the turn was not given back: %v", err)
		}
	})
}

// With a single turn, a caller that deletes what it lists must not wait for itself.
func TestLimitLendsItsTurnWhileListing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := objstore.Limit(open(t, "mem://"), 1)
		for _, key := range []string{"a", "b", "c"} {
			if err := b.Put(t.Context(), key, strings.NewReader("x"), objstore.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		n := 0
		for info, err := range b.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if err = b.Delete(t.Context(), info.Key); err != nil {
				t.Error(err)
			}
			n++
		}
		if n != 3 {
			t.Errorf("%d listed", n)
		}
	})
}
