package etcd

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/runtest"
)

// fill writes until the space is used up, and returns the number of keys that it wrote.
func fill(t *testing.T, s *Store, key func(n int) string) int {
	t.Helper()
	value := make([]byte, 500_000)
	for n := range 1000 {
		_, err := s.Txn(t.Context(), nil, kv.Put(key(n), value))
		if errors.Is(err, kv.ErrNoSpace) {
			return n
		}
		if err != nil && !errors.Is(err, kv.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	t.Fatal("it does not become full")
	return 0
}

// writes waits until etcd accepts writes again.
func writes(t *testing.T, s *Store) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		_, err := s.Txn(t.Context(), nil, kv.Put("after", []byte("value")))
		if err == nil {
			return
		}
		if !errors.Is(err, kv.ErrNoSpace) && !errors.Is(err, kv.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// TestFullDatabaseMakesRoom: the database is full of old values, and then of deleted keys. A
// restart in between changes nothing.
func TestFullDatabaseMakesRoom(t *testing.T) {
	t.Parallel()
	o := EmbeddedOptions{Dir: t.TempDir(), Cluster: "test", Logger: runtest.Logger(t), quota: 8 << 20}
	s, err := OpenEmbedded(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, s, func(int) string { return "one" })
	writes(t, s)
	n := fill(t, s, func(n int) string { return fmt.Sprintf("many/%03d", n) })
	closeStore(t, s)
	if s, err = OpenEmbedded(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	if _, err = s.Txn(t.Context(), nil, kv.DeletePrefix("many/")); err != nil {
		t.Fatalf("delete %d keys: %v", n, err)
	}
	writes(t, s)
}

// TestFullMembersMakeRoom: all three members raise the alarm.
func TestFullMembersMakeRoom(t *testing.T) {
	t.Parallel()
	m := freshMembers(t)
	m.quota = 8 << 20
	m.openAll(t)
	if t.Failed() {
		t.FailNow()
	}
	fill(t, m.stores[0], func(int) string { return "one" })
	writes(t, m.stores[1])
}
