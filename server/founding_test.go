package server

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/catalogue"
	"github.com/varvelog/varve/tiering/format"
)

// bucketOf makes a directory that is marked as the bucket of a cluster.
func bucketOf(t *testing.T, cluster string) string {
	t.Helper()
	url := "file://" + filepath.Join(t.TempDir(), "objects")
	bucket, err := objstore.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err = errors.Join(catalogue.Mark(t.Context(), bucket, "", format.Bucket{ID: "theirs", ClusterID: cluster}), bucket.Close()); err != nil {
		t.Fatal(err)
	}
	return url
}

// end runs a broker that is expected to end by itself.
func end(t *testing.T, s *server) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	return s.run(ctx, time.Now())
}

// TestNothingIsFoundedOverAnothersBucket: a broker without metadata does not found a cluster over
// the history of another one, and leaves no trace of an attempt.
func TestNothingIsFoundedOverAnothersBucket(t *testing.T) {
	s := configured(t, nil, "--object-store", bucketOf(t, "theirs"))
	err := end(t, s)
	if !errors.Is(err, catalogue.ErrRefused) || !strings.Contains(err.Error(), "cluster theirs") {
		t.Fatalf("%v", err)
	}
	if _, err = os.Stat(filepath.Join(s.Config.LogDirs()[0], "meta.properties")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the log directory has a cluster: %v", err)
	}
	if s.clusterID != "" || s.loader.Image().ClusterID != "" {
		t.Errorf("cluster %s was founded", s.clusterID)
	}
}

// TestStartComparesTheBucket: each start compares. Another bucket, or none after there was one,
// ends it; the right one serves.
func TestStartComparesTheBucket(t *testing.T) {
	dir := t.TempDir()
	data, right := filepath.Join(dir, "data"), "file://"+filepath.Join(dir, "right")
	start := func(url string) error {
		ready := make(chan Ready, 1)
		s := configured(t, ready, "--data-dir", data, "--object-store", url)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- s.run(ctx, time.Now()) }()
		select {
		case <-ready:
			cancel()
			return <-ended
		case err := <-ended:
			return err
		}
	}
	for _, step := range []struct{ url, says string }{
		{right, ""},
		{right, ""},
		{right + "?prefix=other", "has no marker varve-bucket"},
		{bucketOf(t, "theirs"), "cluster theirs"},
		{right, ""},
	} {
		err := start(step.url)
		if step.says == "" && err != nil || step.says != "" && (!errors.Is(err, catalogue.ErrRefused) || !strings.Contains(err.Error(), step.says)) {
			t.Errorf("%s: %v", step.url, err)
		}
	}
}

// TestBucketIsComparedWhenItIsBack: a store that is unreachable at the start and turns out to be
// another cluster's is not used, and the broker continues.
func TestBucketIsComparedWhenItIsBack(t *testing.T) {
	store := &awayStore{}
	b := startBroker(t, "--object-store", store.url(t))
	marker, err := (&format.Bucket{ID: "theirs", ClusterID: "theirs"}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	store.put("/bucket/varve-bucket", marker)
	store.there.Store(true)
	wait := func(what string, until func() bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		look := time.NewTicker(50 * time.Millisecond)
		defer look.Stop()
		for !until() {
			select {
			case <-look.C:
			case <-ctx.Done():
				t.Fatal("in a minute not " + what)
			}
		}
	}
	wait("refused", func() bool {
		_, body := b.get(t, "/readyz")
		return strings.Contains(body, "cluster theirs")
	})
	if _, err = b.gate.Stat(t.Context(), "x"); !errors.Is(err, objstore.ErrUnavailable) {
		t.Errorf("the store of another cluster is used: %v", err)
	}
	useBroker(t, b.Kafka)
	store.put("/bucket/varve-bucket", nil)
	wait("used", func() bool { return gauge(t, b.registry, "varve_objstore_usable") == 1 })
	if status, body := b.get(t, "/readyz"); status != http.StatusOK || body != "ready\n" {
		t.Errorf("%d %q", status, body)
	}
	<-b.gate.Opened()
}
