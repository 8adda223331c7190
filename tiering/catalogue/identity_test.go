package catalogue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/kv"
	"github.com/varvelog/varve/metadata/kv/kvtest"
	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/format"
)

func open(t *testing.T, url string) objstore.Bucket {
	t.Helper()
	b, err := objstore.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// cluster is a founded cluster with a metadata store of its own.
type cluster struct {
	store *kvtest.MemStore
	id    string
}

func found(t *testing.T) cluster {
	t.Helper()
	store := kvtest.Open(t)
	id, err := metadata.EnsureClusterID(t.Context(), store, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cluster{store, id}
}

func (c cluster) identity(b objstore.Bucket, url string) *Identity {
	return &Identity{Bucket: b, URL: url, Store: c.store, ClusterID: c.id, Now: time.Now}
}

func put(t *testing.T, b objstore.Bucket, key string, content []byte) {
	t.Helper()
	if err := b.Put(t.Context(), key, bytes.NewReader(content), objstore.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// refused checks that an error names everything that an operator has to know.
func refused(t *testing.T, err error, says ...string) {
	t.Helper()
	if !errors.Is(err, ErrRefused) || Temporary(err) {
		t.Errorf("%v, want ErrRefused", err)
		return
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v\ndoes not say %q", err, text)
		}
	}
}

func TestBucketIsMarkedOnce(t *testing.T) {
	for _, url := range []string{"mem://", "file://" + t.TempDir()} {
		b, c := open(t, url), found(t)
		i := c.identity(b, url)
		for range 2 {
			if err := i.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		marker, err := ReadMarker(t.Context(), b, "")
		if err != nil || marker == nil || marker.ClusterID != c.id || len(marker.ID) < 20 {
			t.Fatalf("%+v, %v", marker, err)
		}
		known, err := metadata.ReadBucket(t.Context(), c.store)
		if err != nil || known.ID != marker.ID || known.URL != url || known.CreatedMs != marker.CreatedMs {
			t.Fatalf("%+v, %v", known, err)
		}
	}
}

func TestOneOfTwoClustersWins(t *testing.T) {
	b := open(t, "mem://")
	clusters := []cluster{found(t), found(t)}
	var wg sync.WaitGroup
	errs := make([]error, 20)
	for i := range errs {
		wg.Go(func() { errs[i] = clusters[i%2].identity(b, "mem://").Verify(context.WithoutCancel(t.Context())) })
	}
	wg.Wait()
	marker, err := ReadMarker(t.Context(), b, "")
	if err != nil || marker == nil {
		t.Fatal(err)
	}
	for i, err := range errs {
		if c := clusters[i%2]; c.id == marker.ClusterID && err != nil {
			t.Errorf("the winner: %v", err)
		} else if c.id != marker.ClusterID {
			refused(t, err, marker.ClusterID, marker.ID, c.id, "another bucket or another prefix=")
		}
	}
}

// interrupted is a bucket in which something happens before the first Put.
type interrupted struct {
	objstore.Bucket
	before func()
}

func (b *interrupted) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstore.PutOptions) error {
	if before := b.before; before != nil {
		b.before = nil
		before()
	}
	return b.Bucket.Put(ctx, key, body, opts)
}

// Another cluster, or another broker of the same one, marks the bucket between the look for a
// marker and the write of one.
func TestMarkerIsNotOverwritten(t *testing.T) {
	for _, same := range []bool{true, false} {
		b, slow := open(t, "mem://"), found(t)
		quick := slow
		if !same {
			quick = found(t)
		}
		late := &interrupted{Bucket: b, before: func() {
			if err := quick.identity(b, "mem://").Verify(t.Context()); err != nil {
				t.Error(err)
			}
		}}
		err := slow.identity(late, "mem://").Verify(t.Context())
		if same && err != nil {
			t.Error(err)
		} else if !same {
			refused(t, err, quick.id)
		}
		if err = quick.identity(b, "mem://").Verify(t.Context()); err != nil {
			t.Errorf("the one that was there first: %v", err)
		}
	}
}

// Two brokers of one cluster each use a directory of their own: only one of these becomes
// the cluster's.
func TestPrivateBucketsAreNoticed(t *testing.T) {
	c := found(t)
	private := []objstore.Bucket{open(t, "mem://"), open(t, "mem://")}
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for n := range errs {
		wg.Go(func() {
			errs[n] = c.identity(private[n], fmt.Sprintf("file:///%d", n)).Verify(context.WithoutCancel(t.Context()))
		})
	}
	wg.Wait()
	loser := 0
	if errs[0] == nil {
		loser = 1
	}
	if errs[1-loser] != nil {
		t.Fatal(errs)
	}
	winner := fmt.Sprintf("file:///%d", 1-loser)
	for range 2 { // and after a restart: it has left a marker, or has none
		refused(t, errs[loser], winner, "correct --object-store", c.id)
		errs[loser] = c.identity(private[loser], "file:///x").Verify(t.Context())
	}
}

func TestWrongPlacesAreRefused(t *testing.T) {
	b, c := open(t, "mem://"), found(t)
	if err := c.identity(b, "s3://right").Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	known, err := metadata.ReadBucket(t.Context(), c.store)
	if err != nil {
		t.Fatal(err)
	}
	wrong := c.identity(b, "s3://right?prefix=wrong")
	wrong.Prefix = "wrong"
	refused(t, wrong.Verify(t.Context()), "s3://right?prefix=wrong has no marker wrong/varve-bucket", known.ID, "s3://right)", "was emptied",
		"varve tier mark --bucket URL --bucket-id "+known.ID+" --cluster-id "+c.id)
	if marker, readErr := ReadMarker(t.Context(), b, "wrong"); readErr != nil || marker != nil {
		t.Errorf("it was marked: %+v, %v", marker, readErr)
	}
	// An older bucket of this cluster.
	other := open(t, "mem://")
	if err = Mark(t.Context(), other, "", format.Bucket{ID: "old", ClusterID: c.id}); err != nil {
		t.Fatal(err)
	}
	refused(t, c.identity(other, "s3://old").Verify(t.Context()), "s3://old", "bucket old", known.ID)
	// The marker is damaged, or from a newer version.
	for content, says := range map[string]string{
		"nonsense":              "cannot be read",
		"varve-bucket 4 0 00\n": "newer version",
	} {
		damaged := open(t, "mem://")
		put(t, damaged, "varve-bucket", []byte(content))
		refused(t, c.identity(damaged, "s3://x").Verify(t.Context()), says)
	}
	future, err := format.DocumentBucket.Wrap([]byte(`{"write":["warp"],"id":"` + known.ID + `","cluster_id":"` + c.id + `","created_ms":1}`))
	if err != nil {
		t.Fatal(err)
	}
	later := open(t, "mem://")
	put(t, later, "varve-bucket", future)
	refused(t, c.identity(later, "s3://x").Verify(t.Context()), "newer version", "warp", "upgrade")
	// An operator marks a bucket that was emptied.
	if err := Mark(t.Context(), b, "", format.Bucket{ID: "x", ClusterID: "y"}); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("a marker was replaced: %v", err)
	}
	if err := Mark(t.Context(), b, "wrong", format.Bucket{ID: known.ID, ClusterID: c.id}); err != nil {
		t.Fatal(err)
	}
	if err := wrong.Verify(t.Context()); err != nil {
		t.Error(err)
	}
}

// etcd and the disks are lost: a new cluster is not founded over what the old one has stored.
func TestNothingIsFoundedOverAnothersHistory(t *testing.T) {
	b, old := open(t, "mem://"), found(t)
	if err := old.identity(b, "s3://bucket").Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	fresh := cluster{store: kvtest.Open(t)}
	refused(t, fresh.identity(b, "s3://bucket").Founding(t.Context()), old.id, "s3://bucket", "restore etcd", "nothing has been")
	if err := fresh.identity(open(t, "mem://"), "s3://empty").Founding(t.Context()); err != nil {
		t.Errorf("a bucket of nobody: %v", err)
	}
	if err := old.identity(b, "s3://bucket").Founding(t.Context()); err != nil {
		t.Errorf("another broker has founded the cluster since: %v", err)
	}
}

// Each request of the first Verify fails once, before it is done or after it, or is the last one of
// its broker. The next Verify finds the same bucket.
func TestAnyRequestOfAMarkingFails(t *testing.T) {
	for _, kind := range []objstoretest.Kind{objstoretest.Fail, objstoretest.FailAfter} {
		for skip := range 8 {
			b, c := open(t, "mem://"), found(t)
			faults := objstoretest.NewFaults(b)
			faults.Add(objstoretest.Fault{Kind: kind, Skip: skip, Times: 1})
			if err := c.identity(faults, "mem://").Verify(t.Context()); err != nil && !Temporary(err) {
				t.Errorf("request %d: %v", skip, err)
			}
			if err := c.identity(b, "mem://").Verify(t.Context()); err != nil {
				t.Errorf("after request %d: %v", skip, err)
			}
		}
	}
	for n := range 2 {
		for _, after := range []bool{false, true} {
			b, c := open(t, "mem://"), found(t)
			hooked := &kvtest.HookedStore{Store: c.store}
			fail := func(i int) error {
				if i == n+1 {
					return kv.ErrUnavailable
				}
				return nil
			}
			if after {
				hooked.AfterTxn = fail
			} else {
				hooked.BeforeTxn = fail
			}
			i := c.identity(b, "mem://")
			i.Store = hooked
			if err := i.Verify(t.Context()); err != nil && !Temporary(err) {
				t.Errorf("transaction %d: %v", n, err)
			}
			if err := c.identity(b, "mem://").Verify(t.Context()); err != nil {
				t.Errorf("after transaction %d: %v", n, err)
			}
		}
	}
}

// TestGateIsShut: no request reaches the bucket before it was compared with the metadata.
func TestGateIsShut(t *testing.T) {
	ctx := t.Context()
	faults := objstoretest.NewFaults(open(t, "mem://"))
	g := NewGate(faults)
	requests := map[string]func() error{
		"put": func() error { return g.Put(ctx, "a", strings.NewReader("x"), objstore.PutOptions{}) },
		"get": func() error { _, err := g.GetRange(ctx, "a", 0, make([]byte, 1)); return err },
		"stat": func() error {
			_, err := g.Stat(ctx, "a")
			return err
		},
		"list": func() error {
			for _, err := range g.List(ctx, "") {
				return err
			}
			return nil
		},
		"delete":     func() error { return g.Delete(ctx, "b") },
		"delete all": func() error { return g.DeleteAll(ctx, []string{"b"}) },
	}
	g.Shut("it is another's")
	for what, request := range requests {
		if err := request(); !errors.Is(err, objstore.ErrUnavailable) || !strings.Contains(err.Error(), "it is another's") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if n := faults.Calls(objstoretest.AnyOp); n != 0 {
		t.Errorf("%d requests have passed", n)
	}
	if err := g.Check(ctx); err != nil {
		t.Error(err)
	}
	select {
	case <-g.Opened():
		t.Error("it is open")
	default:
	}
	g.Open()
	g.Open()
	<-g.Opened()
	put(t, g, "a", []byte("x"))
	for what, request := range requests {
		if err := request(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
