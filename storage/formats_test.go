package storage

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varvelog/varve/vfs"
)

func content(t *testing.T, fsys vfs.FS, name string) []byte {
	t.Helper()
	b, err := vfs.ReadFile(fsys, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestFilesOfALog fixes the bytes of every file that a clean shutdown leaves.
func TestFilesOfALog(t *testing.T) {
	k := newKit(t, vfs.NewMem(), func(c *Config) { c.IndexIntervalBytes = 100; c.SegmentBytes = 700 })
	l := k.log()
	size := int64(len(batchOf(2, 20, 0)))
	for i := range int64(8) {
		if _, err := l.Append(batchOf(2, 20, epoch0.UnixMilli()+i*10), int32(i/3)); err != nil {
			t.Fatal(err)
		}
	}
	commit(l)
	if err := l.AdvanceStartOffset(3); err != nil {
		t.Fatal(err)
	}
	if err := k.m.Close(); err != nil {
		t.Fatal(err)
	}
	if size != 117 {
		t.Fatalf("a batch has %d bytes", size)
	}
	want := []string{
		"00000000000000000000.index", "00000000000000000000.log", "00000000000000000000.timeindex",
		"00000000000000000010.index", "00000000000000000010.log", "00000000000000000010.snapshot", "00000000000000000010.timeindex",
		"00000000000000000016.snapshot", "leader-epoch-checkpoint", "partition.metadata",
	}
	if got := k.files(); !slices.Equal(got, want) {
		t.Fatalf("files %v", got)
	}
	for name, want := range map[string]string{
		// relative last offset | position
		"t-0/00000000000000000000.index": "0000000300000075" + "00000005000000ea" + "000000070000015f" + "00000009000001d4",
		// timestamp | relative offset
		"t-0/00000000000000000000.timeindex": "0000018bcfe5680b00000003" + "0000018bcfe5681500000005" + "0000018bcfe5681f00000007" + "0000018bcfe5682900000009",
		"t-0/00000000000000000010.index":     "0000000300000075" + "00000005000000ea",
		"t-0/00000000000000000010.snapshot":  "0001" + "48674bc7" + "00000000", // no producers
	} {
		if got := hex.EncodeToString(content(t, k.fs, "/data/"+name)); got != want {
			t.Errorf("%s holds %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]string{
		"t-0/leader-epoch-checkpoint":      "0\n3\n0 3\n1 6\n2 12\n",
		"t-0/partition.metadata":           "version: 0\ntopic_id: AQIDAAAAAAAAAAAAAAAAAA",
		"recovery-point-offset-checkpoint": "0\n1\nt 0 16\n",
		"log-start-offset-checkpoint":      "0\n1\nt 0 3\n",
		"replication-offset-checkpoint":    "0\n1\nt 0 16\n",
		".kafka_cleanshutdown":             `{"version":0,"brokerEpoch":-1}`,
	} {
		if got := string(content(t, k.fs, "/data/"+name)); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	meta := string(content(t, k.fs, "/data/meta.properties"))
	if !strings.HasPrefix(meta, "#\n#Tue Nov 14 22:13:20 UTC 2023\ncluster.id=test\ndirectory.id=") || !strings.HasSuffix(meta, "\nnode.id=1\nversion=1\n") {
		t.Errorf("meta.properties holds %q", meta)
	}
}

func TestMetaPropertiesOfKafka(t *testing.T) {
	m, err := parseMetaProperties([]byte("#\n#Mon Nov 23 10:00:00 UTC 2026\ncluster.id=5L6g3nShT-eMCtK--X86sw\nversion=1\ndirectory.id=JnpiCW0eTZuKNbZHkN9Yyg\nnode.id=1\n"))
	if err != nil || m.clusterID != "5L6g3nShT-eMCtK--X86sw" || m.nodeID != 1 || formatUUID(m.directoryID) != "JnpiCW0eTZuKNbZHkN9Yyg" {
		t.Fatalf("%+v, %v", m, err)
	}
	odd := metaProperties{clusterID: `a:b=c\d#e!f`, nodeID: 3}
	if back, err := parseMetaProperties(odd.format(time.Now())); err != nil || back != odd {
		t.Fatalf("%+v, %v", back, err)
	}
	for _, bad := range []string{"", "version=0\nnode.id=1\ncluster.id=x", "version=1\nnode.id=x\ncluster.id=x", "version=1\nnode.id=1", "version=1\nnode.id=1\ncluster.id=x\ndirectory.id=?"} {
		if _, err := parseMetaProperties([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestAbortedTxnBytes(t *testing.T) {
	txn := AbortedTxn{ProducerID: 1, FirstOffset: 2, LastOffset: 3, LastStableOffset: 4}
	b := txn.appendTo(nil)
	if want := "0000" + "0000000000000001" + "0000000000000002" + "0000000000000003" + "0000000000000004"; hex.EncodeToString(b) != want {
		t.Fatalf("%x", b)
	}
	if got, err := ParseAbortedTxns(append(b, b...)); err != nil || len(got) != 2 || got[1] != txn {
		t.Fatalf("%v, %v", got, err)
	}
	b[1] = 1
	if _, err := ParseAbortedTxns(b); err == nil {
		t.Fatal("an unknown version was taken")
	}
	if _, err := ParseAbortedTxns(b[:33]); err == nil {
		t.Fatal("a cut entry was taken")
	}
}

func TestCheckpointBytes(t *testing.T) {
	offsets := map[partitionKey]int64{{"b", 10}: 3, {"b", 9}: 2, {"a.b-c_d", 0}: 1 << 40}
	want := "0\n3\na.b-c_d 0 1099511627776\nb 9 2\nb 10 3\n"
	got := formatCheckpoint(offsets)
	if string(got) != want {
		t.Fatalf("%q", got)
	}
	back, err := parseCheckpoint(got)
	if err != nil || len(back) != 3 || back[partitionKey{"b", 10}] != 3 {
		t.Fatalf("%v, %v", back, err)
	}
	for _, bad := range []string{"", "0\n", "1\n0\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\n1\na x 1\n", "0\n1\na 0 -1\n", "0\n1\na 0 1", "\x00\x00\x00\n"} {
		if _, err = parseCheckpoint([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestEpochFileBytes(t *testing.T) {
	entries := []EpochEntry{{0, 0}, {3, 17}, {4, 17}}
	b := FormatEpochs(entries)
	if string(b) != "0\n3\n0 0\n3 17\n4 17\n" {
		t.Fatalf("%q", b)
	}
	if back, err := ParseEpochs(b); err != nil || !slices.Equal(back, entries) {
		t.Fatalf("%v, %v", back, err)
	}
	for _, bad := range []string{"0\n2\n1 0\n1 5\n", "0\n2\n1 5\n2 4\n", "0\n1\n-1 0\n", "0\n1\n1 2 3\n", "0\n1\n1 1"} {
		if _, err := ParseEpochs([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzParsers(f *testing.F) {
	f.Add([]byte("0\n1\nt 0 5\n"))
	f.Add([]byte("0\n1\n1 5\n"))
	f.Add([]byte("version: 0\ntopic_id: AQIDAAAAAAAAAAAAAAAAAA"))
	f.Add([]byte("version=1\ncluster.id=x\nnode.id=1\n"))
	f.Add(encodeSnapshot(map[int64]*producerEntry{1: newProducerEntry()}))
	f.Add(AbortedTxn{1, 2, 3, 4}.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if offsets, err := parseCheckpoint(b); err == nil {
			if again, err := parseCheckpoint(formatCheckpoint(offsets)); err != nil || len(again) != len(offsets) {
				t.Fatalf("checkpoint does not read back: %v", err)
			}
		}
		if entries, err := ParseEpochs(b); err == nil {
			if again, err := ParseEpochs(FormatEpochs(entries)); err != nil || !slices.Equal(again, entries) {
				t.Fatalf("epochs do not read back: %v", err)
			}
		}
		if m, err := parseMetadata(b); err == nil {
			if again, err := parseMetadata(m.format()); err != nil || !reflect.DeepEqual(again, m) {
				t.Fatalf("metadata does not read back: %v", err)
			}
		}
		if state, err := decodeSnapshot(b); err == nil {
			if again := encodeSnapshot(state); len(state)*snapshotEntrySize+snapshotHeader == len(b) && len(again) != len(b) {
				t.Fatal("snapshot does not read back")
			}
		}
		if txns, err := ParseAbortedTxns(b); err == nil {
			var again []byte
			for _, txn := range txns {
				again = txn.appendTo(again)
			}
			if !bytes.Equal(again, b) {
				t.Fatal("transaction index does not read back")
			}
		}
		if m, err := parseMetaProperties(b); err == nil && m.clusterID == "" {
			t.Fatal("meta.properties without a cluster was taken")
		}
		parseDirName(string(b))
		splitName(string(b))
	})
}
