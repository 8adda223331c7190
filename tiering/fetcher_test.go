package tiering

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Clients take turns by bytes. A client with large reads gets as many bytes as one with small
// reads, which does more reads. A client that arrives late has its turn in the next round.
func TestTurnsGoByBytes(t *testing.T) {
	var queue turns
	none := func(string) time.Duration { return 0 }
	push := func(client string, n int, bytes int64) {
		for range n {
			queue.push(&fetch{client: client, bytes: bytes})
		}
	}
	push("large", 100, 4<<20)
	push("small", 400, 256<<10)
	got := map[string]int64{}
	for range 200 {
		x, _ := queue.take(none)
		got[x.client] += x.bytes
	}
	if d := got["large"] - got["small"]; d > 5<<20 || d < -5<<20 {
		t.Errorf("they got %v", got)
	}
	push("late", 1, 64<<10)
	for n := 0; ; n++ {
		x, _ := queue.take(none)
		if x.client == "late" {
			break
		}
		if n > 20 {
			t.Fatal("the late one has no turn")
		}
	}
	for queue.length > 0 {
		if x, _ := queue.take(none); x == nil {
			t.Fatal("what is queued is not served")
		}
	}
	if x, wait := queue.take(none); x != nil || wait >= 0 || queue.ring.Len() != 0 || len(queue.byName) != 0 {
		t.Errorf("%v is left, %v", x, wait)
	}
}

// A client that has used up its budget is skipped, and is served once it is paid back.
func TestTurnsWaitForBudgets(t *testing.T) {
	var queue turns
	wait := map[string]time.Duration{"a": time.Second, "b": time.Minute}
	of := func(client string) time.Duration { return wait[client] }
	for _, client := range []string{"a", "b", "c"} {
		queue.push(&fetch{client: client, bytes: 1})
	}
	if x, _ := queue.take(of); x == nil || x.client != "c" {
		t.Errorf("it is the turn of %v", x)
	}
	if x, w := queue.take(of); x != nil || w != time.Second {
		t.Errorf("it is the turn of %v, or in %v", x, w)
	}
	wait["b"] = 0
	if x, _ := queue.take(of); x == nil || x.client != "b" {
		t.Errorf("it is the turn of %v", x)
	}
}

// Reads ahead never have all workers, and a read that a reader waits for goes before them. What is
// queued when the fetcher ends gets an error.
func TestReadersComeBeforeReadsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFetcher(time.Minute, newMetrics(nil).fetchQueue, 0, 0)
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { f.run(ctx, 5) })
		var mu sync.Mutex
		var begun, dropped []string
		hold := make(chan struct{})
		submit := func(name string, wanted bool) error {
			return f.submit(&fetch{wanted: wanted, bytes: 1, do: func(context.Context) int64 {
				mu.Lock()
				begun = append(begun, name)
				mu.Unlock()
				<-hold
				return 1
			}, drop: func(error) { dropped = append(dropped, name) }})
		}
		for i := range 10 {
			if err := submit(fmt.Sprint("ahead ", i), false); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if len(begun) != 4 {
			t.Errorf("%d reads ahead have a worker of 5", len(begun))
		}
		for i := range 3 {
			if err := submit(fmt.Sprint("wanted ", i), true); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if !slices.Equal(begun[4:], []string{"wanted 0"}) {
			t.Errorf("begun are %q", begun)
		}
		hold <- struct{}{}
		synctest.Wait()
		if !slices.Equal(begun[4:], []string{"wanted 0", "wanted 1"}) {
			t.Errorf("begun are %q", begun)
		}
		cancel()
		close(hold)
		group.Wait()
		if len(dropped)+len(begun) != 13 || len(dropped) < 3 {
			t.Errorf("begun are %q, dropped %q", begun, dropped)
		}
		if submit("late", true) == nil {
			t.Error("it takes reads after its end")
		}
	})
}
