package etcd

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/runtest"
)

// lose closes a member and deletes its files.
func (m *members) lose(t *testing.T, i int) {
	t.Helper()
	closeStore(t, m.stores[i])
	m.stores[i] = nil
	if err := os.RemoveAll(filepath.Join(m.dir, strconv.Itoa(i))); err != nil {
		t.Fatal(err)
	}
}

// hasEverything checks that a member has the written data and is a full member: it makes a majority
// with one other.
func (m *members) hasEverything(t *testing.T, i, without int) {
	t.Helper()
	if t.Failed() {
		t.FailNow()
	}
	pair, err := m.stores[i].Get(t.Context(), "kept")
	if err != nil || string(pair.Value) != "value" {
		t.Fatalf("%+v, %v", pair, err)
	}
	closeStore(t, m.stores[without])
	m.stores[without] = nil
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if _, err = m.stores[i].Txn(ctx, nil, kv.Put("after", []byte("value"))); err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// TestMemberWithoutItsFilesJoinsAgain: one member loses its disk, and then another. Each returns at
// its address with the data of the others.
func TestMemberWithoutItsFilesJoinsAgain(t *testing.T) {
	t.Parallel()
	m := openMembers(t)
	if t.Failed() {
		t.FailNow()
	}
	write(t, m.stores[0], "kept")
	for _, i := range []int{0, 2} {
		m.lose(t, i)
		m.open(t, i)
		if t.Failed() {
			t.FailNow()
		}
		list, err := m.stores[i].client.MemberList(t.Context())
		if err != nil || len(list.Members) != 3 {
			t.Fatalf("%v, %v", list, err)
		}
	}
	m.hasEverything(t, 2, 1)
}

// TestMemberWhoseReturnWasBrokenOff: a start ended after the old member was removed, or after the
// new one was added. The next start completes it.
func TestMemberWhoseReturnWasBrokenOff(t *testing.T) {
	t.Parallel()
	for name, added := range map[string]bool{"removed": false, "added": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := openMembers(t)
			if t.Failed() {
				t.FailNow()
			}
			write(t, m.stores[0], "kept")
			old := uint64(m.stores[2].member.MemberID())
			m.lose(t, 2)
			client := m.stores[0].client
			if err := insist(t.Context(), nil, func(ctx context.Context) error { _, err := client.MemberRemove(ctx, old); return err }); err != nil {
				t.Fatal(err)
			}
			if added {
				url, err := m.peers[2].url("http", 0)
				if err != nil {
					t.Fatal(err)
				}
				if err = insist(t.Context(), nil, func(ctx context.Context) error { _, addErr := client.MemberAdd(ctx, []string{url}); return addErr }); err != nil {
					t.Fatal(err)
				}
			}
			m.open(t, 2)
			m.hasEverything(t, 2, 1)
		})
	}
}

// TestMemberTakesNobodysPlace starts a broker a second time, with another directory. The first one
// stays a member.
func TestMemberTakesNobodysPlace(t *testing.T) {
	t.Parallel()
	m := openMembers(t)
	if t.Failed() {
		t.FailNow()
	}
	open := func(peers []Peer) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		s, err := OpenEmbedded(ctx, EmbeddedOptions{Dir: t.TempDir(), Cluster: "test", Logger: runtest.Logger(t), Member: &Member{NodeID: 3, Peers: peers}})
		if err == nil {
			closeStore(t, s)
		}
		return err
	}
	if err := open(m.peers); err == nil || !strings.Contains(err.Error(), "another process runs this broker's member") {
		t.Error(err)
	}
	others := append([]Peer{{NodeID: 4, Control: freeControl(t)}}, m.peers...)
	if err := open(others); err == nil || !strings.Contains(err.Error(), "others than --seeds has") {
		t.Error(err)
	}
	list, err := m.stores[0].client.MemberList(t.Context())
	if err != nil || len(list.Members) != 3 {
		t.Fatalf("%v, %v", list, err)
	}
}
