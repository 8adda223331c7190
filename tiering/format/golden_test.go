package format

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/varvelog/varve/metadata"
)

// fullManifest returns a manifest that has every kind of member.
func fullManifest(t fataler) *paper {
	p := newPaper()
	p.shape = Shape{Inline: 2, Page: 1}
	for i := range int64(4) {
		p.edit(t, func(m *Manifest, e Edit) { m.Append(e, testSegment(i*10, i*10+10, 1000+i, 77+i)) })
	}
	p.edit(t, func(m *Manifest, _ Edit) {
		m.LogStart = 3
		m.Locations = []Location{{Bucket: "s3://cold?region=eu-central-1", Prefix: "old/", Key: "k1", Class: "GLACIER_IR"}}
		m.Lineage = []Cut{{Offset: 40, LeaderEpoch: 2, ByEpoch: 3, Ms: 1_700_000_000_000}}
		m.Pins = []Pin{{ID: "p1", Name: "backup", UntilMs: 1_800_000_000_000, Manifest: "manifest/0000000004-00000000000000000003-0000000000000003"}}
		m.Recent[0].Aborted, m.Recent[0].Flags = 2, FlagCompacted
	})
	return p
}

// goldenPointer returns a pointer to the manifest.
func goldenPointer(p *paper) *Pointer {
	ptr := &Pointer{LeaderEpoch: 4, BrokerID: 1, Claim: "00112233aabbccdd", Fence: 2, CommittedMs: 1_700_000_000_000}
	ptr.SetManifest(p.m, p.current)
	return ptr
}

// goldenDocuments returns documents of each kind, by the name of their file in testdata.
func goldenDocuments(t fataler) map[string][]byte {
	p := fullManifest(t)
	encoded := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatalf("encode: %v", err)
		}
		return b
	}
	return map[string][]byte{
		"manifest": p.objects[p.current.Name],
		"page":     p.objects[p.m.Pages[0].Name],
		"trash":    p.objects[p.m.TrashPages[0].Name],
		"pointer":  encoded(goldenPointer(p).Encode()),
		"bucket":   encoded((&Bucket{ID: "b1", ClusterID: "cluster", CreatedMs: 1_700_000_000_000}).Encode()),
		"topic": encoded((&Topic{
			ClusterID: "cluster", TopicID: metadata.TopicID{1, 2, 3}, Revision: 17, Name: "orders", Partitions: 12, ReplicationFactor: 3,
			Configs: map[string]string{"retention.ms": "-1"}, CreatedMs: 1_700_000_000_000,
		}).Encode()),
		"orphan": encoded((&Orphan{
			ClusterID: "cluster", TopicID: metadata.TopicID{1, 2, 3}, Objects: 3, Bytes: 1 << 20, SeenMs: 1_700_000_000_000,
		}).Encode()),
	}
}

// compareGolden compares with a file, which the variable VARVE_REWRITE writes instead.
func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	if os.Getenv("VARVE_REWRITE") != "" {
		if err := os.WriteFile("testdata/"+name, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has changed:\n%s", name, got)
	}
}

func TestDocumentsAreGolden(t *testing.T) {
	for name, got := range goldenDocuments(t) {
		compareGolden(t, name, got)
	}
}

func TestSegmentObjectIsGolden(t *testing.T) {
	var out bytes.Buffer
	for rest := goldenEnd(t, nil); len(rest) > 0; rest = rest[min(32, len(rest)):] {
		out.WriteString(hex.EncodeToString(rest[:min(32, len(rest))]) + "\n")
	}
	compareGolden(t, "segment_end.hex", out.Bytes())
}

// parsers returns the parsers by the name of a file in testdata.
func parsers(t fataler) map[string]func(b []byte) error {
	p := fullManifest(t)
	return map[string]func(b []byte) error{
		"manifest": func(b []byte) error { _, err := ParseManifest(b); return err },
		"page":     func(b []byte) error { _, err := ParsePage(b, &p.m.Pages[0]); return err },
		"trash":    func(b []byte) error { _, err := ParseTrashPage(b, &p.m.TrashPages[0]); return err },
		"bucket":   func(b []byte) error { _, err := ParseBucket(b); return err },
		"topic":    func(b []byte) error { _, err := ParseTopic(b); return err },
		"orphan":   func(b []byte) error { _, err := ParseOrphan(b); return err },
	}
}

func TestDamageIsNoticed(t *testing.T) {
	t.Parallel()
	good := goldenDocuments(t)
	for name, parse := range parsers(t) {
		if err := parse(good[name]); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range good[name] {
			bad := bytes.Clone(good[name])
			bad[i] ^= 1 << (i % 7)
			if err := parse(bad); !isDamage(err) {
				t.Fatalf("%s with a flip in byte %d: %v", name, i, err)
			}
			if err := parse(good[name][:i]); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("the first %d bytes of %s: %v", i, name, err)
			}
		}
	}
}

func TestOtherVersionsAreToldApart(t *testing.T) {
	good := goldenDocuments(t)
	texts := map[string]string{"4": "upgrade this broker", "2": "unreleased build", "1": "unreleased build"}
	for _, name := range []string{"manifest", "bucket", "topic"} {
		for version, want := range texts {
			other := bytes.Replace(good[name], []byte(" 3 "), []byte(" "+version+" "), 1)
			if err := parsers(t)[name](other); !errors.Is(err, ErrUnsupportedFormat) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of version %s: %v", name, version, err)
			}
		}
	}
	for version, want := range map[string]string{"3": "upgrade this broker", "1": "unreleased build"} {
		other := bytes.Replace(good["pointer"], []byte(`"version":2`), []byte(`"version":`+version), 1)
		if _, err := ParsePointer(other); !errors.Is(err, ErrUnsupportedFormat) || !strings.Contains(err.Error(), want) {
			t.Errorf("pointer of version %s: %v", version, err)
		}
	}
	for _, bad := range []string{
		``, `{}`, `[]`, `{"version":2,"manifest":"x"}`, `{"version":2,"manifest":"manifest/0000000001-00000000000000000000-a","size":5}`,
		`{"version":2,"start":5,"end":4}`, `{"version":2,"manifest":"manifest/0000000001-00000000000000000001-a"}`,
	} {
		if _, err := ParsePointer([]byte(bad)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("pointer %s: %v", bad, err)
		}
	}
}

func TestPointerHasTheFactsOfItsManifest(t *testing.T) {
	p := fullManifest(t)
	b, err := goldenPointer(p).Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParsePointer(b)
	if err != nil {
		t.Fatal(err)
	}
	name, ok := got.Name()
	if !ok || name.Sequence != p.m.Sequence || got.Size != int64(len(p.objects[p.m.Name()])) || got.CRC32C != Checksum(p.objects[p.m.Name()]) {
		t.Errorf("object %+v", got)
	}
	if got.StartOffset != 0 || got.EndOffset != 40 || got.LastEpoch != 0 || got.LogStart != 3 {
		t.Errorf("history %+v", got)
	}
	got.SetManifest(newPaper().m, Stored{Name: "manifest/0000000000-00000000000000000000-", Size: 7})
	if _, ok = got.Name(); ok || got.Manifest != "" || got.Size != 0 || got.LastEpoch != -1 {
		t.Errorf("of a tier that has no manifest: %+v", got)
	}
}

func TestLargeDocumentIsNotWritten(t *testing.T) {
	p := twoSegments(t)
	p.m.Topic = strings.Repeat("x", MaxDocumentBytes)
	if _, _, err := p.m.Encode(); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("encode: %v, want ErrTooLarge", err)
	}
}

func TestNamesReadWhatTheyWrote(t *testing.T) {
	for _, n := range []Name{
		{Kind: KindSegment, StartOffset: 1 << 60, LeaderEpoch: 1<<31 - 1, Attempt: "00112233aabbccdd"},
		{Kind: KindPage, Level: 3, StartOffset: 5, Attempt: "x"},
		{Kind: KindManifest, LeaderEpoch: 9, Sequence: 1 << 62, Attempt: "0"},
		{Kind: KindTrash, LeaderEpoch: 9, Sequence: 3, Attempt: "0a"},
	} {
		if got, ok := ParseName(n.String()); !ok || got != n {
			t.Errorf("%s reads as %+v", n, got)
		}
	}
	for _, s := range []string{
		"", "x", ".segment", "1-2-3.segment", "manifest/1-2", "manifest/", "page/1-2-3", "manifest/-000000001-00000000000000000001-a",
		"00000000000000000000-9999999999-a.segment", "page/300-00000000000000000000-0000000000-a", "page/0-00000000000000000000-0000000000-",
		"manifest/0000000001-00000000000000000001", "page/0-00000000000000000000-0000000000-a/b", "stream/0000000001-00000000000000000001-a",
		"trash/0000000001-00000000000000000001-A", "unknown",
	} {
		if n, ok := ParseName(s); ok {
			t.Errorf("%q reads as %+v", s, n)
		}
	}
	id := metadata.TopicID{1, 2, 3}
	for got, want := range map[string]string{
		PartitionPrefix("", id, 7):       id.String() + "/7/",
		PartitionPrefix("/a/b/", id, 70): "a/b/" + id.String() + "/70/",
		BucketKey("a"):                   "a/varve-bucket",
		TopicKey("", id, 12):             "topics/" + id.String() + "/00000000000000000012",
		OrphanKey("a/", id):              "a/orphans/" + id.String(),
	} {
		if got != want {
			t.Errorf("key %q, want %q", got, want)
		}
	}
}

func TestKeysAreToldApart(t *testing.T) {
	id := metadata.TopicID{1, 2, 3}
	for _, prefix := range []string{"", "a/b"} {
		for key, want := range map[string]ObjectKey{
			BucketKey(prefix):                          {Place: PlaceBucket},
			TopicKey(prefix, id, 12):                   {Place: PlaceTopic, TopicID: id, Revision: 12},
			OrphanKey(prefix, id):                      {Place: PlaceOrphan, TopicID: id},
			PartitionPrefix(prefix, id, 7) + "x.later": {Place: PlacePartition, TopicID: id},
			PartitionPrefix(prefix, id, 7) + "later/x": {Place: PlacePartition, TopicID: id},
			ObjectsPrefix(prefix, id) + "7/":           {},
			ObjectsPrefix(prefix, id) + "x/y":          {},
			ObjectsPrefix(prefix, id) + "07/y":         {},
			TopicPrefix(prefix, id) + "12":             {},
			TopicsPrefix(prefix) + "x/1":               {},
			OrphanKey(prefix, id) + "/x":               {},
			"elsewhere/" + BucketKey(prefix):           {},
			below(prefix) + "orders/7/x":               {},
			below(prefix) + "later":                    {},
		} {
			if got := ParseKey(prefix, key); got != want {
				t.Errorf("%s is %+v, want %+v", key, got, want)
			}
		}
	}
}
