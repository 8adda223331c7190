package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestUploadsUnderFaults kills and freezes leaders while they upload. At the end everything must be
// readable from the beginning, most of it from the bucket. After the sweeper has run, the bucket
// must hold no object that no manifest names.
func TestUploadsUnderFaults(t *testing.T) {
	sideBySide(t)
	bucket := t.TempDir()
	brokers := startCluster(t, "--object-store", "file://"+bucket,
		"--set", "log.retention.check.interval.ms=300", "--set", "remote.log.manager.task.interval.ms=300",
		"--set", "varve.tier.sweep.interval.ms=1000", "--set", "varve.tier.sweep.grace.ms=3000")
	everywhere := append(clusterClient(brokers), kgo.ProducerBatchCompression(kgo.NoCompression()))
	admin := kadm.NewClient(newClient(t, "", everywhere...))
	if _, err := admin.CreateTopic(t.Context(), 2, 3, map[string]*string{
		"min.insync.replicas": new("2"), "remote.storage.enable": new("true"), "segment.bytes": new("1048576"),
		"local.retention.bytes": new("2097152"), "retention.ms": new("-1"),
	}, "tiered"); err != nil {
		t.Fatal(err)
	}
	l := startLoad(t, "tiered", 2, 2, 1, 500, 2000, everywhere...)
	l.progress(time.Minute, "at the start")
	n := newNemesis(t, brokers, nil, admin)
	n.victim = func() int {
		if leader := leaderOf(t, admin, "tiered"); leader > 0 {
			return int(leader)
		}
		return 1 + n.random.IntN(len(brokers))
	}
	n.run(nemesisTime(t, 15*time.Second, 5*time.Minute))
	l.progress(2*time.Minute, "after the faults")
	allInSync(t, admin, "tiered", 3)
	eventually(t, 2*time.Minute, "more is uploaded than will stay on the disks", func() bool { return len(objects(t, bucket, ".segment")) > 16 })
	l.stop()
	t.Logf("%s: all is written", time.Now().Format(time.TimeOnly))
	var remote []string
	counted := func() (string, bool) {
		remote = objects(t, bucket, ".segment")
		told, most := fmt.Sprintf("%d objects", len(remote)), true
		for i, p := range brokers {
			local := len(segments(t, p.dataDir, "tiered-0")) + len(segments(t, p.dataDir, "tiered-1"))
			told += fmt.Sprintf(", %d segments at broker %d", local, i+1)
			most = most && len(remote) > 2*local
		}
		return told, most
	}
	deadline := time.Now().Add(time.Minute)
	eventually(t, 2*time.Minute, "most segments are only in the bucket", func() bool {
		told, most := counted()
		if !most && time.Now().After(deadline) {
			t.Fatalf("not within a minute: most segments are only in the bucket: %s", told)
		}
		return most
	})
	l.check(everywhere...)
	t.Logf("%s: all is read", time.Now().Format(time.TimeOnly))

	// This is the leftover of an upload that a crash interrupted, in case none happened at the
	// right moment.
	orphan := filepath.Join(filepath.Dir(remote[0]), "00000000000000000007-0000000000-00112233aabbccdd.segment")
	if err := os.WriteFile(orphan, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unnamed(t, bucket); err == nil {
		t.Fatal("an object that no manifest names is not found by the test")
	}
	var left error
	deadline = time.Now().Add(time.Minute)
	eventually(t, 2*time.Minute, "the bucket holds nothing that no manifest names", func() bool {
		if left = unnamed(t, bucket); left != nil && time.Now().After(deadline) {
			t.Fatalf("in the bucket, after a minute:\n%v", left)
		}
		return left == nil
	})
}

// objects returns the files of a bucket whose names end in ending; all of them for "".
func objects(t *testing.T, bucket, ending string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(bucket, func(name string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // deleted since
		}
		if err == nil && !e.IsDir() && strings.HasSuffix(name, ending) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// document is the part of a manifest, a page or a page of trash that names objects.
type document struct {
	Pages  []struct{ Name string } `json:"pages"`
	Recent []struct{ Name string } `json:"recent"`
	// Segments is the named segments in a page, and their number in a manifest.
	Segments   json.RawMessage         `json:"segments"`
	Trash      []struct{ Name string } `json:"trash"`
	TrashPages []struct{ Name string } `json:"trash_pages"`
}

// unnamed returns an error that lists two kinds of objects of the bucket's partitions: those that
// the newest manifest does not name, itself or through a page, and named ones that do not exist.
// Objects that the manifest lists for deletion stay for a minute, so only the long version of the
// test waits for their deletion.
func unnamed(t *testing.T, bucket string) error {
	t.Helper()
	manifests := map[string]string{} // the newest one, by the directory of the partition
	for _, name := range objects(t, bucket, "") {
		if dir := filepath.Dir(name); filepath.Base(dir) == "manifest" {
			manifests[filepath.Dir(dir)] = max(manifests[filepath.Dir(dir)], name)
		}
	}
	if len(manifests) == 0 {
		return errors.New("there is no manifest")
	}
	var wrong []error
	for dir, manifest := range manifests {
		there := objects(t, dir, "")
		named := map[string]bool{manifest: true}
		if err := addNamed(named, dir, manifest); err != nil {
			return err // it may have been replaced since
		}
		for _, name := range there {
			if needed, listed := named[name]; !listed || long() && !needed {
				wrong = append(wrong, fmt.Errorf("%s is not named by %s", name, filepath.Base(manifest)))
			}
		}
		for name, needed := range named {
			if needed && !slices.Contains(there, name) {
				wrong = append(wrong, fmt.Errorf("%s is named by %s, and is not there", name, filepath.Base(manifest)))
			}
		}
	}
	return errors.Join(wrong...)
}

// addNamed adds the objects that a manifest or page names: true if they must exist, false if they
// are to be deleted.
func addNamed(named map[string]bool, dir, name string) error {
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	_, body, _ := bytes.Cut(content, []byte("\n"))
	var d document
	if err = json.Unmarshal(body, &d); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, x := range d.Trash {
		named[filepath.Join(dir, x.Name)] = false
	}
	var segments []struct{ Name string }
	_ = json.Unmarshal(d.Segments, &segments) // it is a number in a manifest
	for _, x := range append(segments, d.Recent...) {
		named[filepath.Join(dir, x.Name)] = true
	}
	for _, x := range append(d.Pages, d.TrashPages...) {
		page := filepath.Join(dir, x.Name)
		named[page] = true
		if err = addNamed(named, dir, page); err != nil {
			return err
		}
	}
	return nil
}
