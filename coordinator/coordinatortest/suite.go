package coordinatortest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/varvelog/varve/coordinator"
	"github.com/varvelog/varve/record"
)

// Harness is a log under test with partitions 0 and 1, both empty and in epoch 1.
type Harness struct {
	Log coordinator.Log
	// Elect starts a higher leader epoch of a partition.
	Elect func(partition, epoch int32)
}

// TestLog checks what coordinators rely on. open makes a fresh log.
func TestLog(t *testing.T, open func(t *testing.T) Harness) {
	t.Helper()
	for name, check := range map[string]func(*testing.T, Harness){
		"an empty log loads nothing":                emptyLoad,
		"what was appended loads in order":          orderedLoad,
		"an older leader epoch is refused":          staleEpoch,
		"the callback's error ends the load":        callbackError,
		"an append after ctx has ended is refused":  canceledAppend,
		"a load after ctx has ended fails":          canceledLoad,
		"partitions take appends at the same time":  concurrentAppends,
		"a null value and an empty one stay so":     tombstones,
		"a load ends at what the log had at start":  loadIsBounded,
		"what was appended in older epochs is kept": epochsKept,
	} {
		t.Run(name, func(t *testing.T) { check(t, open(t)) })
	}
}

func batch(t testing.TB, epoch int32, values ...string) record.Batch {
	t.Helper()
	b := record.Builder{LeaderEpoch: epoch}
	for _, v := range values {
		b.Append(1, []byte("key"), []byte(v))
	}
	made, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func mustAppend(t testing.TB, log coordinator.Log, partition, epoch int32, values ...string) int64 {
	t.Helper()
	last, err := log.Append(t.Context(), partition, batch(t, epoch, values...))
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return last
}

func values(t testing.TB, log coordinator.Log, partition int32) []string {
	t.Helper()
	list := []string{}
	next := int64(0)
	err := log.Load(t.Context(), partition, func(b record.Batch) error {
		if err := b.Check(); err != nil {
			return err
		}
		for r, err := range b.Records() {
			if err != nil {
				return err
			}
			if r.Offset < next {
				return fmt.Errorf("offset %d comes after %d", r.Offset, next-1)
			}
			next = r.Offset + 1
			list = append(list, string(r.Value))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return list
}

func expect(t testing.TB, log coordinator.Log, partition int32, want ...string) {
	t.Helper()
	if got := values(t, log, partition); !slices.Equal(got, want) {
		t.Errorf("partition %d has %q, want %q", partition, got, want)
	}
}

func emptyLoad(t *testing.T, h Harness) {
	t.Helper()
	expect(t, h.Log, 0)
}

func orderedLoad(t *testing.T, h Harness) {
	t.Helper()
	first := mustAppend(t, h.Log, 0, 1, "a", "b")
	second := mustAppend(t, h.Log, 0, 1, "c")
	mustAppend(t, h.Log, 1, 1, "x")
	if second != first+1 {
		t.Errorf("last offsets are %d and %d, want them to follow", first, second)
	}
	expect(t, h.Log, 0, "a", "b", "c")
	expect(t, h.Log, 1, "x")
}

func staleEpoch(t *testing.T, h Harness) {
	t.Helper()
	mustAppend(t, h.Log, 0, 1, "a")
	h.Elect(0, 2)
	if _, err := h.Log.Append(t.Context(), 0, batch(t, 1, "b")); !errors.Is(err, coordinator.ErrNotCoordinator) {
		t.Errorf("append in an epoch that is over: got %v, want ErrNotCoordinator", err)
	}
	mustAppend(t, h.Log, 0, 2, "c")
	expect(t, h.Log, 0, "a", "c")
}

func epochsKept(t *testing.T, h Harness) {
	t.Helper()
	mustAppend(t, h.Log, 0, 1, "a")
	h.Elect(0, 5)
	mustAppend(t, h.Log, 0, 5, "b")
	expect(t, h.Log, 0, "a", "b")
}

func callbackError(t *testing.T, h Harness) {
	t.Helper()
	mustAppend(t, h.Log, 0, 1, "a")
	mustAppend(t, h.Log, 0, 1, "b")
	enough, calls := errors.New("enough"), 0
	err := h.Log.Load(t.Context(), 0, func(record.Batch) error { calls++; return enough })
	if !errors.Is(err, enough) || calls != 1 {
		t.Errorf("got %v after %d calls, want the callback's error after 1", err, calls)
	}
}

func canceledAppend(t *testing.T, h Harness) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.Log.Append(ctx, 0, batch(t, 1, "a")); err == nil {
		t.Error("the append succeeded")
	}
	expect(t, h.Log, 0)
}

func canceledLoad(t *testing.T, h Harness) {
	t.Helper()
	mustAppend(t, h.Log, 0, 1, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.Log.Load(ctx, 0, func(record.Batch) error { return nil }); err == nil {
		t.Error("the load succeeded")
	}
}

func concurrentAppends(t *testing.T, h Harness) {
	t.Helper()
	const each = 20
	var wg sync.WaitGroup
	for partition := range int32(2) {
		wg.Go(func() {
			for range each {
				if _, err := h.Log.Append(t.Context(), partition, batch(t, 1, "v")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for partition := range int32(2) {
		if n := len(values(t, h.Log, partition)); n != each {
			t.Errorf("partition %d has %d records, want %d", partition, n, each)
		}
	}
}

func tombstones(t *testing.T, h Harness) {
	t.Helper()
	b := record.Builder{LeaderEpoch: 1}
	b.Append(1, []byte("null"), nil)
	b.Append(1, []byte("empty"), []byte{})
	made, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	if _, err = h.Log.Append(t.Context(), 0, made); err != nil {
		t.Fatal(err)
	}
	err = h.Log.Load(t.Context(), 0, func(b record.Batch) error {
		for r, bad := range b.Records() {
			if bad != nil {
				return bad
			}
			if isNull := string(r.Key) == "null"; isNull != (r.Value == nil) {
				t.Errorf("the value of %q is %#v", r.Key, r.Value)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func loadIsBounded(t *testing.T, h Harness) {
	t.Helper()
	mustAppend(t, h.Log, 0, 1, "a")
	calls := 0
	err := h.Log.Load(t.Context(), 0, func(record.Batch) error {
		if calls++; calls > 1 {
			return errors.New("the load follows appends that came after it")
		}
		_, err := h.Log.Append(t.Context(), 0, batch(t, 1, "b"))
		return err
	})
	if err != nil {
		t.Error(err)
	}
	expect(t, h.Log, 0, "a", "b")
}
