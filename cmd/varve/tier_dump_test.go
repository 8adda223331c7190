package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/tiering/format"
)

const tierTestdata = "../../tiering/format/testdata/"

// segmentObject is an object of two chunks. Only --verify reads their content.
func segmentObject(t *testing.T) []byte {
	t.Helper()
	object := bytes.Repeat([]byte("log bytes "), 500)
	chunks := format.Directory{
		{StoredBytes: 3000, PlainBytes: 3000, BaseOffset: 7, MaxTimestamp: 1_700_000_000_000, CRC32C: format.Checksum(object[:3000]), Batches: 3},
		{Position: 3000, StoredBytes: 2000, PlainBytes: 2000, BaseOffset: 40, MaxTimestamp: 1_700_000_000_000, CRC32C: format.Checksum(object[3000:]), Batches: 2},
	}
	description, err := (&format.Description{
		Topic: "orders", TopicID: metadata.TopicID{1}, BaseOffset: 7, StartOffset: 7, EndOffset: 50, MaxTimestamp: 1_700_000_000_000,
		Records: 43, Batches: 5, LogBytes: 5000, ChunkBytes: format.MinChunkBytes,
	}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	layout := format.NewLayout(5000)
	for _, p := range []struct {
		kind    format.PartType
		flags   uint16
		content []byte
	}{
		{format.PartSnapshot, 0, []byte("producers")},
		{format.PartDescription, format.PartCritical, description},
		{format.PartDirectory, format.PartCritical, chunks.Append(nil)},
	} {
		layout.Add(p.kind, p.flags, int64(len(p.content)), format.Checksum(p.content))
		object = append(object, p.content...)
	}
	return append(object, layout.End()...)
}

func TestTierDumpOfASegment(t *testing.T) {
	name := filepath.Join(t.TempDir(), "object.segment")
	object := segmentObject(t)
	if err := os.WriteFile(name, object, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err := run(t, "", "tier", "dump", "--verify", name)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"document: segment bytes: ", "\n  \"topic\": \"orders\",\n", "part: producer snapshot position: 5000 bytes: 9 critical: false crc32c: ",
		"part: chunk directory position: ", "critical: true",
		"chunk: 1 position: 3000 storedBytes: 2000 plainBytes: 2000 baseOffset: 40 maxTimestamp: 1700000000000 batches: 2 crc32c: ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	out, _, err = run(t, "", "tier", "dump", "--output", "json", name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	// Only --verify detects a flipped bit of the log.
	object[3500] ^= 1
	if err = os.WriteFile(name, object, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err = run(t, "", "tier", "dump", name); err != nil {
		t.Errorf("without --verify: %v", err)
	}
	if out, _, err = run(t, "", "tier", "dump", "--verify", name); err == nil || !strings.Contains(err.Error(), "chunk 1 at byte 3000") {
		t.Errorf("with --verify: %v", err)
	}
	if !strings.Contains(out, "chunk: 0") {
		t.Error("what comes before the damage is not printed")
	}
}

func TestTierDumpOfDocuments(t *testing.T) {
	for file, want := range map[string]string{
		"manifest": `"sequence": 5,`, "page": `"level": 0,`, "trash": `"reason": "replaced_manifest"`, "bucket": `"cluster_id": "cluster"`, "topic": `"retention.ms": "-1"`,
	} {
		out, _, err := run(t, "", "tier", "dump", tierTestdata+file)
		if err != nil || !strings.HasPrefix(out, "document: varve-"+file+" version: 3 bytes: ") || !strings.Contains(out, want) {
			t.Errorf("%s: %v\n%s", file, err, out)
		}
	}
}

// TestTierDumpOfTheFuture: a document that this build does not understand is printed too.
func TestTierDumpOfTheFuture(t *testing.T) {
	content, err := format.DocumentManifest.Wrap([]byte(`{"read":["warp"],"segments":"none"}`))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "manifest")
	if err = os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err := run(t, "", "tier", "dump", name)
	if err == nil || !strings.Contains(err.Error(), `"warp"`) || !strings.Contains(out, `"segments": "none"`) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTierDumpOfABucket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bucket")
	if err := os.MkdirAll(filepath.Join(dir, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "a", "0.segment"), segmentObject(t), 0o600); err != nil {
		t.Fatal(err)
	}
	out, _, err := run(t, "", "tier", "dump", "--bucket", "file://"+dir, "--verify", "a/0.segment")
	if err != nil || !strings.Contains(out, "chunk: 1") {
		t.Errorf("%v\n%s", err, out)
	}
	for line, want := range map[string]string{
		"--bucket file://" + dir + " a/1.segment": "a/1.segment: ",
		"--bucket ftp://x a":                      "unknown scheme",
		dir:                                       "it is not a file",
		tierTestdata + "pointer":                  "trailer: there is none",
	} {
		if _, _, err = run(t, "", append([]string{"tier", "dump"}, strings.Fields(line)...)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}
