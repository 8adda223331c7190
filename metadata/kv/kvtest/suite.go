package kvtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata/kv"
)

// Instance is one empty store under test.
type Instance struct {
	Store kv.Store
	// Compact drops the events before a revision.
	Compact func(t *testing.T, revision int64)
}

// Run checks an implementation. open returns an empty store for one subtest and closes it when the
// subtest ends.
func Run(t *testing.T, open func(t *testing.T) Instance) {
	t.Helper()
	for _, c := range []struct {
		name  string
		check func(suite)
	}{
		{"GetOfAbsentKey", getOfAbsentKey},
		{"PutGetDelete", putGetDelete},
		{"CreateRevisionSurvivesUpdatesOnly", createRevisions},
		{"ComparisonsGuardTransactions", comparisons},
		{"TransactionIsAtomicAtOneRevision", atomic},
		{"TransactionThatChangesNothingTakesNoRevision", noChange},
		{"TransactionRefusesDoubleKeys", doubleKeys},
		{"DeletePrefix", deletePrefix},
		{"ListIsOrderedAndPaged", list},
		{"WatchSeesEverythingFromARevision", watch},
		{"WatchKeepsRevisionsWhole", watchWhole},
		{"WatchOfAFutureRevision", watchFuture},
		{"WatchOfACompactedRevision", watchCompacted},
		{"WatchEndsWithItsContext", watchContext},
		{"RevokeDeletesKeysAtOneRevision", revoke},
		{"LeaseExpires", leaseExpires},
		{"KeepAliveExtends", keepAlive},
		{"GoneLeaseIsRefused", goneLease},
		{"PutTakesTheLeaseOff", leaseOff},
		{"EndedContext", endedContext},
		{"CloseEndsWatches", closeEnds},
	} {
		t.Run(c.name, func(t *testing.T) { c.check(suite{open(t), t}) })
	}
}

// suite is the store under test and the subtest.
type suite struct {
	Instance
	t *testing.T
}

func (s suite) txn(t *testing.T, ops ...kv.Op) int64 {
	t.Helper()
	revision, err := s.Store.Txn(t.Context(), nil, ops...)
	if err != nil {
		t.Fatalf("Txn: %v", err)
	}
	return revision
}

func (s suite) put(t *testing.T, key, value string) int64 {
	t.Helper()
	return s.txn(t, kv.Put(key, []byte(value)))
}

func (s suite) get(t *testing.T, key string) kv.Pair {
	t.Helper()
	pair, err := s.Store.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get(%q): %v", key, err)
	}
	if pair.Key != key {
		t.Fatalf("Get(%q) has key %q", key, pair.Key)
	}
	return pair
}

func (s suite) list(t *testing.T, prefix string) ([]string, int64) {
	t.Helper()
	kvs, revision, err := s.Store.List(t.Context(), prefix)
	if err != nil {
		t.Fatalf("List(%q): %v", prefix, err)
	}
	keys := make([]string, len(kvs))
	for i, pair := range kvs {
		keys[i] = pair.Key
	}
	return keys, revision
}

// events watches until n events have arrived.
func (s suite) events(t *testing.T, prefix string, from int64, n int) []kv.Event {
	t.Helper()
	var events []kv.Event
	for batch, err := range s.Store.Watch(t.Context(), prefix, from) {
		if err != nil {
			t.Fatalf("Watch(%q, %d) after %d events: %v", prefix, from, len(events), err)
		}
		last := batch.Events[len(batch.Events)-1]
		if batch.Revision != last.ModRevision {
			t.Fatalf("the batch says revision %d, its last event %d", batch.Revision, last.ModRevision)
		}
		events = append(events, batch.Events...)
		if len(events) >= n {
			break
		}
	}
	if len(events) != n {
		t.Fatalf("Watch(%q, %d) = %d events, want %d: %+v", prefix, from, len(events), n, events)
	}
	return events
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error = %v, want %v", err, want)
	}
}

func getOfAbsentKey(s suite) {
	t := s.t
	if pair := s.get(t, "a"); pair.Exists() || pair.Value != nil || pair.CreateRevision != 0 {
		t.Fatalf("an absent key reads as %+v", pair)
	}
}

func putGetDelete(s suite) {
	t := s.t
	revision := s.put(t, "dir/a", "one")
	pair := s.get(t, "dir/a")
	if string(pair.Value) != "one" || pair.ModRevision != revision || pair.CreateRevision != revision || pair.Lease != 0 {
		t.Fatalf("read %+v after the write at %d", pair, revision)
	}
	if next := s.txn(t, kv.Delete("dir/a")); next != revision+1 {
		t.Fatalf("the deletion is revision %d, after %d", next, revision)
	}
	if s.get(t, "dir/a").Exists() {
		t.Fatal("the key is there after its deletion")
	}
}

func createRevisions(s suite) {
	t := s.t
	created := s.put(t, "a", "1")
	updated := s.put(t, "a", "2")
	if pair := s.get(t, "a"); pair.CreateRevision != created || pair.ModRevision != updated {
		t.Fatalf("after create at %d and update at %d: %+v", created, updated, pair)
	}
	s.txn(t, kv.Delete("a"))
	again := s.put(t, "a", "3")
	if pair := s.get(t, "a"); pair.CreateRevision != again {
		t.Fatalf("created again at %d: %+v", again, pair)
	}
}

func comparisons(s suite) {
	t := s.t
	created := s.put(t, "a", "1")
	updated := s.put(t, "a", "2")
	for _, c := range []struct {
		name  string
		cmp   kv.Comparison
		holds bool
	}{
		{"absent, but it exists", kv.Absent("a"), false},
		{"absent", kv.Absent("b"), true},
		{"created then", kv.CreatedAt("a", created), true},
		{"created later", kv.CreatedAt("a", updated), false},
		{"created, but absent", kv.CreatedAt("b", created), false},
		{"created at 0 means absent", kv.CreatedAt("b", 0), true},
		{"modified then", kv.ModifiedAt("a", updated), true},
		{"modified earlier", kv.ModifiedAt("a", created), false},
		{"modified at 0 means absent", kv.ModifiedAt("b", 0), true},
		{"modified at 0, but it exists", kv.ModifiedAt("a", 0), false},
		{"has the value", kv.ValueIs("a", []byte("2")), true},
		{"has another value", kv.ValueIs("a", []byte("1")), false},
		{"has no value", kv.ValueIs("b", nil), false},
		{"the zero comparison", kv.Comparison{Key: "b"}, false},
	} {
		marker := "marker/" + c.name
		_, err := s.Store.Txn(t.Context(), []kv.Comparison{kv.ModifiedAt("a", updated), c.cmp}, kv.Put(marker, nil))
		if c.holds && err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if !c.holds && !errors.Is(err, kv.ErrConflict) {
			t.Errorf("%s: error %v, want ErrConflict", c.name, err)
		}
		if s.get(t, marker).Exists() != c.holds {
			t.Errorf("%s: the write is there: %t", c.name, !c.holds)
		}
	}
}

func atomic(s suite) {
	t := s.t
	s.put(t, "c", "old")
	revision := s.txn(t, kv.Put("a", []byte("1")), kv.Put("b", nil), kv.Delete("c"))
	for _, key := range []string{"a", "b"} {
		if pair := s.get(t, key); pair.ModRevision != revision || pair.CreateRevision != revision {
			t.Errorf("written at %d: %+v", revision, pair)
		}
	}
	if s.get(t, "c").Exists() {
		t.Error("c is there")
	}
}

func noChange(s suite) {
	t := s.t
	revision := s.put(t, "a", "1")
	if got := s.txn(t, kv.Delete("b")); got != revision {
		t.Fatalf("deleting nothing: revision %d, want %d", got, revision)
	}
	if _, err := s.Store.Txn(t.Context(), []kv.Comparison{kv.Absent("a")}, kv.Put("b", nil)); !errors.Is(err, kv.ErrConflict) {
		t.Fatal(err)
	}
	if got := s.put(t, "b", ""); got != revision+1 {
		t.Fatalf("the next write is revision %d, want %d", got, revision+1)
	}
}

func doubleKeys(s suite) {
	t := s.t
	for _, ops := range [][]kv.Op{
		{kv.Put("a", nil), kv.Put("a", nil)},
		{kv.Put("a", nil), kv.Delete("a")},
		{kv.DeletePrefix("a"), kv.Put("ab", nil)},
		{kv.DeletePrefix("")},
	} {
		if _, err := s.Store.Txn(t.Context(), nil, ops...); err == nil || errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("%+v: error %v", ops, err)
		}
	}
	s.put(t, "fine", "")
}

func deletePrefix(s suite) {
	t := s.t
	for i := range 5 {
		s.put(t, fmt.Sprintf("p/1/%d", i), "")
		s.put(t, fmt.Sprintf("p/10/%d", i), "")
	}
	before := s.put(t, "p/0", "")
	revision := s.txn(t, kv.DeletePrefix("p/1/"), kv.Put("x", nil))
	if keys, _ := s.list(t, "p/"); len(keys) != 6 {
		t.Fatalf("left: %q", keys)
	}
	if events := s.events(t, "p/", before+1, 5); events[0].ModRevision != revision || !events[4].Deleted {
		t.Fatalf("events: %+v", events)
	}
}

func list(s suite) {
	t := s.t
	const n = 4321 // more than one page of any implementation
	want := make([]string, n)
	ops := make([]kv.Op, 0, n)
	for i := range n {
		want[i] = fmt.Sprintf("many/%05d", (i*7)%n)
		ops = append(ops, kv.Put(want[i], nil))
	}
	for chunk := range slices.Chunk(ops, kv.MaxTxnOps) {
		s.txn(t, chunk...)
	}
	last := s.put(t, "manx", "outside")
	slices.Sort(want)
	keys, revision := s.list(t, "many/")
	if !slices.Equal(keys, want) {
		t.Fatalf("listed %d keys, want %d in order", len(keys), n)
	}
	if revision != last {
		t.Fatalf("listed as of %d, want %d", revision, last)
	}
	if all, _ := s.list(t, ""); len(all) != n+1 {
		t.Fatalf("the whole store has %d keys, want %d", len(all), n+1)
	}
}

func watch(s suite) {
	t := s.t
	s.put(t, "w/old", "")
	first := s.put(t, "w/a", "1")
	s.put(t, "other", "")
	s.txn(t, kv.Delete("w/a"))
	last := s.put(t, "w/b", "2")
	events := s.events(t, "w/", first, 3)
	if e := events[0]; e.Key != "w/a" || string(e.Value) != "1" || e.Deleted || e.ModRevision != first || e.CreateRevision != first {
		t.Errorf("event 0 = %+v", e)
	}
	if e := events[1]; e.Key != "w/a" || !e.Deleted || e.ModRevision != first+2 || e.Value != nil {
		t.Errorf("event 1 = %+v", e)
	}
	if e := events[2]; e.Key != "w/b" || e.Deleted || e.ModRevision != last {
		t.Errorf("event 2 = %+v", e)
	}
}

func watchWhole(s suite) {
	t := s.t
	from := s.put(t, "start", "") + 1
	const txns, width = 50, 40
	done := make(chan error, 1)
	go func() {
		for range txns {
			ops := make([]kv.Op, width)
			for i := range ops {
				ops[i] = kv.Put(fmt.Sprintf("w/%d", i), nil)
			}
			if _, err := s.Store.Txn(t.Context(), nil, ops...); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	seen := 0
	for batch, err := range s.Store.Watch(t.Context(), "w/", from) {
		if err != nil {
			t.Fatal(err)
		}
		if len(batch.Events)%width != 0 {
			t.Fatalf("a batch of %d events splits a transaction of %d", len(batch.Events), width)
		}
		seen += len(batch.Events)
		if seen == txns*width {
			break
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func watchFuture(s suite) {
	t := s.t
	now := s.put(t, "w/a", "")
	done := make(chan []kv.Event, 1)
	go func() {
		var events []kv.Event
		for batch, err := range s.Store.Watch(t.Context(), "w/", now+2) {
			if err == nil {
				events = append(events, batch.Events...)
			}
			break
		}
		done <- events
	}()
	s.put(t, "w/skipped", "")
	s.put(t, "w/wanted", "")
	if events := <-done; len(events) != 1 || events[0].Key != "w/wanted" {
		t.Fatalf("events = %+v", events)
	}
}

func watchCompacted(s suite) {
	t := s.t
	first := s.put(t, "w/a", "1")
	for range 10 {
		s.put(t, "w/a", "2")
	}
	last := s.put(t, "w/b", "")
	s.Compact(t, last-1)
	for _, err := range s.Store.Watch(t.Context(), "w/", first) {
		wantErr(t, err, kv.ErrCompacted)
		break
	}
	// A reader then lists again and watches from there.
	_, revision := s.list(t, "w/")
	next := s.put(t, "w/c", "")
	if events := s.events(t, "w/", revision+1, 1); events[0].ModRevision != next {
		t.Fatalf("after listing at %d: %+v, want revision %d", revision, events, next)
	}
}

func watchContext(s suite) {
	t := s.t
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	from := s.put(t, "w/a", "")
	var got error
	for _, err := range s.Store.Watch(ctx, "w/", from) {
		got = err
		cancel()
	}
	wantErr(t, got, context.Canceled)
}

func (s suite) grant(t *testing.T, ttl time.Duration) kv.LeaseID {
	t.Helper()
	lease, err := s.Store.Grant(t.Context(), ttl)
	if err != nil || lease == 0 {
		t.Fatalf("Grant = %d, %v", lease, err)
	}
	return lease
}

func revoke(s suite) {
	t := s.t
	lease := s.grant(t, time.Minute)
	s.txn(t, kv.PutLeased("l/a", nil, lease), kv.PutLeased("l/b", nil, lease), kv.Put("l/c", nil))
	before := s.put(t, "l/d", "")
	if pair := s.get(t, "l/a"); pair.Lease != lease {
		t.Fatalf("the key's lease is %d, want %d", pair.Lease, lease)
	}
	for range 2 { // the second call finds no lease, and returns nil
		if err := s.Store.Revoke(t.Context(), lease); err != nil {
			t.Fatalf("Revoke: %v", err)
		}
	}
	if keys, _ := s.list(t, "l/"); !slices.Equal(keys, []string{"l/c", "l/d"}) {
		t.Fatalf("left: %q", keys)
	}
	if events := s.events(t, "l/", before+1, 2); events[0].ModRevision != events[1].ModRevision || !events[0].Deleted || events[0].Key != "l/a" {
		t.Fatalf("events: %+v", events)
	}
}

func leaseExpires(s suite) {
	t := s.t
	lease := s.grant(t, time.Second)
	put := s.txn(t, kv.PutLeased("l/a", nil, lease))
	if e := s.events(t, "l/", put+1, 1)[0]; !e.Deleted || e.Key != "l/a" {
		t.Fatalf("event %+v", e)
	}
	wantErr(t, s.Store.KeepAlive(t.Context(), lease), kv.ErrLeaseNotFound)
}

// keepAlive grants two equal leases and renews the older one all the time: it must outlive the
// other.
func keepAlive(s suite) {
	t := s.t
	const ttl = 2 * time.Second
	kept, lost := s.grant(t, ttl), s.grant(t, ttl)
	put := s.txn(t, kv.PutLeased("l/kept", nil, kept), kv.PutLeased("l/lost", nil, lost))
	ctx, stop := context.WithCancel(t.Context())
	var renewing sync.WaitGroup
	defer renewing.Wait()
	defer stop()
	renewing.Go(func() {
		tick := time.NewTicker(ttl / 20)
		defer tick.Stop()
		for ctx.Err() == nil {
			if err := s.Store.KeepAlive(ctx, kept); err != nil && ctx.Err() == nil {
				t.Errorf("KeepAlive: %v", err)
				return
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	})
	if e := s.events(t, "l/", put+1, 1)[0]; e.Key != "l/lost" || !e.Deleted {
		t.Fatalf("first to go: %+v", e)
	}
	if !s.get(t, "l/kept").Exists() {
		t.Fatal("the renewed lease has ended with the other")
	}
}

func goneLease(s suite) {
	t := s.t
	lease := s.grant(t, time.Minute)
	if err := s.Store.Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	_, err := s.Store.Txn(t.Context(), nil, kv.Put("b", nil), kv.PutLeased("a", nil, lease))
	wantErr(t, err, kv.ErrLeaseNotFound)
	if s.get(t, "b").Exists() {
		t.Fatal("half of the transaction was applied")
	}
	wantErr(t, s.Store.KeepAlive(t.Context(), lease), kv.ErrLeaseNotFound)
}

func leaseOff(s suite) {
	t := s.t
	lease := s.grant(t, time.Minute)
	s.txn(t, kv.PutLeased("a", nil, lease))
	s.put(t, "a", "kept")
	if err := s.Store.Revoke(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	if pair := s.get(t, "a"); string(pair.Value) != "kept" || pair.Lease != 0 {
		t.Fatalf("read %+v", pair)
	}
}

func endedContext(s suite) {
	t := s.t
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Store.Get(ctx, "a")
	wantErr(t, err, context.Canceled)
	_, _, err = s.Store.List(ctx, "")
	wantErr(t, err, context.Canceled)
	_, err = s.Store.Txn(ctx, nil, kv.Put("a", nil))
	wantErr(t, err, context.Canceled)
	_, err = s.Store.Grant(ctx, time.Second)
	wantErr(t, err, context.Canceled)
	for _, err = range s.Store.Watch(ctx, "", 1) {
		wantErr(t, err, context.Canceled)
	}
}

func closeEnds(s suite) {
	t := s.t
	from := s.put(t, "w/a", "")
	watching := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		var last error
		for _, err := range s.Store.Watch(t.Context(), "w/", from) {
			if err == nil {
				close(watching)
			}
			last = err
		}
		done <- last
	}()
	<-watching
	if err := s.Store.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	wantErr(t, <-done, kv.ErrClosed)
	_, err := s.Store.Get(t.Context(), "a")
	wantErr(t, err, kv.ErrClosed)
	_, err = s.Store.Txn(t.Context(), nil, kv.Put("a", nil))
	wantErr(t, err, kv.ErrClosed)
	if err = s.Store.Close(); err != nil {
		t.Fatalf("the second Close: %v", err)
	}
}
