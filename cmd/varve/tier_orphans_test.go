package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/objstore"
	"github.com/varvelog/varve/tiering/catalogue"
	"github.com/varvelog/varve/tiering/format"
)

func TestTierOrphans(t *testing.T) {
	url := "file://" + filepath.Join(t.TempDir(), "bucket")
	bucket, err := objstore.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if closeErr := bucket.Close(); closeErr != nil {
			t.Error(closeErr)
		}
	})
	there := func(key string) bool {
		_, statErr := bucket.Stat(context.WithoutCancel(t.Context()), key)
		return statErr == nil
	}
	put := func(key string) {
		t.Helper()
		if putErr := bucket.Put(t.Context(), key, bytes.NewReader([]byte("xyz")), objstore.PutOptions{}); putErr != nil {
			t.Fatal(putErr)
		}
	}
	living, gone, lost := catalogue.TopicID{1}, catalogue.TopicID{2}, catalogue.TopicID{3}
	for _, id := range []catalogue.TopicID{living, gone, lost} {
		put(format.PartitionPrefix("", id, 0) + "x")
	}
	if err = catalogue.WriteTopic(t.Context(), bucket, "", &format.Topic{TopicID: lost, Name: "lost", Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	view := clusterView{id: "c1", topics: map[string]bool{living.String(): true}, grace: 1} // a nanosecond
	look := func(o orphanSearch, names ...string) (string, error) {
		a, out := testApp("json")
		o.url = url
		orphansErr := a.orphans(t.Context(), o, view, names)
		return out.String(), orphansErr
	}
	if _, err = look(orphanSearch{}); err == nil || !strings.Contains(err.Error(), "has no marker") {
		t.Errorf("without a marker: %v", err)
	}
	var out string
	if out, _, err = run(t, "", "tier", "mark", "--bucket", url, "--bucket-id", "b", "--cluster-id", "c2"); err != nil || !strings.Contains(out, "is bucket b of cluster c2") {
		t.Fatalf("%s, %v", out, err)
	}
	if _, err = look(orphanSearch{remove: true, yes: true}); err == nil || !strings.Contains(err.Error(), "cluster c2") {
		t.Errorf("of another cluster: %v", err)
	}
	if _, _, err = run(t, "", "tier", "mark", "--bucket", url, "--bucket-id", "b", "--cluster-id", "c1"); err == nil || !strings.Contains(err.Error(), "has a marker") {
		t.Errorf("a second marker: %v", err)
	}
	view.id = "c2"
	state := func() map[string]string {
		t.Helper()
		out, lookErr := look(orphanSearch{})
		var rows []orphanRow
		if lookErr == nil {
			lookErr = json.Unmarshal([]byte(out), &rows)
		}
		if lookErr != nil {
			t.Fatal(lookErr)
		}
		states := map[string]string{}
		for _, r := range rows {
			states[r.TopicID+r.Name] = r.State
		}
		return states
	}
	if got := state(); len(got) != 2 || got[gone.String()] != "new" || got[lost.String()+"lost"] != "suspect" {
		t.Errorf("%v", got)
	}
	// A command records nothing, so it cannot delete anything that no sweep has recorded.
	if _, err = look(orphanSearch{remove: true, yes: true}, gone.String()); !errors.Is(err, catalogue.ErrSuspect) || !there(format.PartitionPrefix("", gone, 0)+"x") {
		t.Errorf("%v", err)
	}
	for _, id := range []catalogue.TopicID{gone, lost} {
		put(format.OrphanKey("", id))
	}
	if got := state(); got[gone.String()] != "due" {
		t.Errorf("%v", got)
	}
	if _, err = look(orphanSearch{remove: true, yes: true}); !errors.Is(err, catalogue.ErrSuspect) || !there(format.PartitionPrefix("", gone, 0)+"x") {
		t.Errorf("beside a suspect one: %v", err)
	}
	if _, err = look(orphanSearch{remove: true}, lost.String()); err == nil || !strings.Contains(err.Error(), "--yes") || !there(format.PartitionPrefix("", lost, 0)+"x") {
		t.Errorf("without an answer: %v", err)
	}
	if _, err = look(orphanSearch{remove: true, yes: true}, lost.String()); err != nil {
		t.Error(err)
	}
	if _, err = look(orphanSearch{remove: true, yes: true}); err != nil {
		t.Error(err)
	}
	if got := state(); len(got) != 0 || there(format.PartitionPrefix("", gone, 0)+"x") || !there(format.PartitionPrefix("", living, 0)+"x") {
		t.Errorf("%v", got)
	}
}
