package simulation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/varvelog/varve/objstore"
)

// newBucketTest returns a world with a bucket and one process that uses it.
func newBucketTest() (*world, *bucketClient) {
	w := &world{sched: newScheduler(1, &jumpClock{}), counts: map[string]int{}}
	w.bucket, w.check = newBucket(w), newChecker(w)
	w.sched.stopped = func() bool { return false }
	w.sum = noSum{}
	return w, &bucketClient{w: w, process: &process{host: &host{w: w, id: 1, name: "broker 1"}, name: "broker 1/1"}}
}

// noSum ignores the trace.
type noSum struct{}

func (noSum) Write(p []byte) (int, error) { return len(p), nil }
func (noSum) Sum(b []byte) []byte         { return b }
func (noSum) Reset()                      {}
func (noSum) Size() int                   { return 0 }
func (noSum) BlockSize() int              { return 1 }
func (noSum) Sum64() uint64               { return 0 }

// do runs a function as a coroutine to its end.
func (c *bucketClient) do(t *testing.T, what func(ctx context.Context)) {
	t.Helper()
	ended := false
	c.w.sched.spawn(t.Context(), c.process, func(ctx context.Context) {
		what(ctx)
		ended = true
	})
	if c.w.sched.run(c.w.sched.now + 10*attemptTime); !ended {
		t.Fatal("the store's client waits for ever")
	}
}

// TestBucketHasWhatWasPut: objects are never replaced, and are listed in order.
func TestBucketHasWhatWasPut(t *testing.T) {
	w, c := newBucketTest()
	put := func(ctx context.Context, key, content string) error {
		return c.Put(ctx, key, strings.NewReader(content), objstore.PutOptions{IfAbsent: true})
	}
	c.do(t, func(ctx context.Context) {
		for _, key := range []string{"p/b", "p/a", "q"} {
			if err := put(ctx, key, key+" content"); err != nil {
				t.Error(err)
			}
		}
		if err := put(ctx, "p/a", "another"); !errors.Is(err, objstore.ErrExists) {
			t.Errorf("a second object of the key: %v", err)
		}
		p := make([]byte, 20)
		if n, err := c.GetRange(ctx, "p/a", 4, p); !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Equal(p[:n], []byte("content")) {
			t.Errorf("%q, %v", p[:n], err)
		}
		var keys []string
		for info, err := range c.List(ctx, "p/") {
			if err != nil {
				t.Error(err)
			}
			keys = append(keys, info.Key)
		}
		if got := strings.Join(keys, " "); got != "p/a p/b" {
			t.Errorf("listed %s", got)
		}
		if err := c.DeleteAll(ctx, []string{"p/a", "none"}); err != nil {
			t.Error(err)
		}
		if _, err := c.Stat(ctx, "p/a"); !errors.Is(err, objstore.ErrNotFound) {
			t.Errorf("after it was deleted: %v", err)
		}
	})
	if len(w.bucket.objects) != 2 {
		t.Errorf("%d objects", len(w.bucket.objects))
	}
}

// TestFlakyBucketDoesAllThatAStoreMayDo: all four combinations occur. A request succeeds and is
// executed, succeeds and is not executed, fails and is executed, fails and is not executed.
func TestFlakyBucketDoesAllThatAStoreMayDo(t *testing.T) {
	w, c := newBucketTest()
	w.bucket.flaky = flaky{until: 1 << 62, percent: 50}
	seen := map[[2]bool]int{}
	for n := range 200 {
		key := strings.Repeat("k", n+1)
		c.do(t, func(ctx context.Context) {
			err := c.Put(ctx, key, strings.NewReader("content"), objstore.PutOptions{IfAbsent: true})
			_, missing := w.bucket.content(key)
			seen[[2]bool{err == nil, missing == nil}]++
		})
	}
	for _, one := range [][2]bool{{true, true}, {true, false}, {false, true}, {false, false}} {
		if seen[one] == 0 {
			t.Errorf("no request of 200 was answered %v and done %v", one[0], one[1])
		}
	}
	w.bucket.away = true
	c.do(t, func(ctx context.Context) {
		if _, err := c.Stat(ctx, "k"); !errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("without the store: %v", err)
		}
	})
}
