package objstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// tailBucket answers each GetRange after a given time, and counts the canceled ones.
type tailBucket struct {
	Bucket
	takes func(n int) (time.Duration, error)

	mu      sync.Mutex
	sent    int
	givenUp int
}

func (b *tailBucket) GetRange(ctx context.Context, _ string, off int64, p []byte) (int, error) {
	b.mu.Lock()
	b.sent++
	d, err := b.takes(b.sent)
	b.mu.Unlock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		b.givenUp++
		return 0, ctx.Err()
	}
	if err != nil {
		return 0, err
	}
	for i := range p {
		p[i] = byte(off + int64(i))
	}
	return len(p), nil
}

// get reads a range and checks it.
func get(t *testing.T, b Bucket, size int) (time.Duration, error) {
	t.Helper()
	began := time.Now()
	p := make([]byte, size)
	n, err := b.GetRange(t.Context(), "key", 3, p)
	for i := range p {
		if err == nil && (n != size || p[i] != byte(3+i)) {
			t.Fatalf("%d bytes, other ones", n)
		}
	}
	return time.Since(began), err
}

func hedgesOf(t *testing.T, reg *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			out[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
		}
	}
	return out
}

// TestSlowReadsAreSentAgain has one request in thirty take a second. No reader may wait for it,
// each must get its bytes, and few additional requests may be sent.
func TestSlowReadsAreSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &tailBucket{takes: func(n int) (time.Duration, error) {
			if n > 200 && n%30 == 0 {
				return time.Second, nil
			}
			return 20 * time.Millisecond, nil
		}}
		reg := prometheus.NewRegistry()
		b := Hedge(store, reg)
		const reads = 1200
		for i := range reads {
			if took, err := get(t, b, 1000); err != nil || took > 60*time.Millisecond {
				t.Fatalf("read %d took %v: %v", i, took, err)
			}
		}
		if extra := store.sent - reads; extra < 20 || extra > reads/20 || extra != store.givenUp {
			t.Errorf("%d requests more than reads, %d were given up", extra, store.givenUp)
		}
		if n := hedgesOf(t, reg); n["second"] < 20 || n["first"]+n["second"] != float64(store.givenUp) {
			t.Errorf("counted %v", n)
		}
	})
}

// TestSlowStoreGetsFewMoreRequests has all requests become slow at one moment. Few of them may be
// sent twice.
func TestSlowStoreGetsFewMoreRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takes := 20 * time.Millisecond
		store := &tailBucket{takes: func(n int) (time.Duration, error) { return takes + time.Duration(n%7)*time.Millisecond, nil }}
		b := Hedge(store, nil)
		for range 200 {
			_, _ = get(t, b, 1000)
		}
		before := store.sent
		for i := range 400 {
			// The store becomes ever slower, so each request counts as slow.
			takes = time.Duration(i+2) * 20 * time.Millisecond
			_, _ = get(t, b, 1000)
		}
		if extra := store.sent - before - 400; extra > 400/hedgeEvery+hedgeSaved {
			t.Errorf("%d requests more than reads", extra)
		}
	})
}

// TestSizesAreSlowByThemselves checks that a large range is not compared with small ones.
func TestSizesAreSlowByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takes := 20 * time.Millisecond
		store := &tailBucket{takes: func(int) (time.Duration, error) { return takes, nil }}
		b := Hedge(store, nil)
		for range 100 {
			_, _ = get(t, b, 1000)
		}
		takes = time.Second
		before := store.sent
		for range 10 {
			_, _ = get(t, b, 100_000)
		}
		if n := store.sent - before; n != 10 {
			t.Errorf("%d requests for 10 reads of another size", n)
		}
	})
}

// TestHedgeFails checks how a hedged read fails: at once if the first request fails before it is
// slow, and otherwise only if both fail.
func TestHedgeFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var next func(n int) (time.Duration, error)
		store := &tailBucket{takes: func(n int) (time.Duration, error) {
			if next != nil {
				return next(n)
			}
			return 20 * time.Millisecond, nil
		}}
		b := Hedge(store, nil)
		for range 100 {
			_, _ = get(t, b, 1000)
		}
		broken := fmt.Errorf("%w: broken", ErrUnavailable)
		next = func(int) (time.Duration, error) { return time.Millisecond, broken }
		if took, err := get(t, b, 1000); !errors.Is(err, broken) || took != time.Millisecond {
			t.Errorf("a quick failure: %v after %v", err, took)
		}
		sent := store.sent
		next = func(n int) (time.Duration, error) {
			if n == sent+1 {
				// It fails after the second request was sent, and before that one answers.
				return 40 * time.Millisecond, broken
			}
			return 25 * time.Millisecond, nil
		}
		if _, err := get(t, b, 1000); err != nil || store.sent != sent+2 {
			t.Errorf("the first fails, the second does not: %v, %d requests", err, store.sent-sent)
		}
		next = func(int) (time.Duration, error) { return time.Hour, nil }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		if _, err := b.GetRange(ctx, "key", 0, make([]byte, 1000)); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Minute {
			t.Errorf("the deadline: %v after %v", err, time.Since(began))
		}
	})
}
