package main

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const segment = "testdata/00000000000000000000"

// TestDumpOfKafkasFiles: the files in testdata are Apache Kafka 4.3.1's, of one committed and one
// aborted transaction. The expected output is that of its own kafka-dump-log.
func TestDumpOfKafkasFiles(t *testing.T) {
	out, _, err := run(t, "", "log", "dump", "--records", segment+".log")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	want := map[int]string{
		2: "baseOffset: 1 lastOffset: 1 count: 1 baseSequence: -1 lastSequence: -1 producerId: 8 producerEpoch: 1 partitionLeaderEpoch: 0 " +
			"isTransactional: true isControl: true deleteHorizonMs: none position: 88 CreateTime: 1795470822524 size: 78 magic: 2 " +
			"compresscodec: none crc: 4059133186 isvalid: true",
		4: "baseOffset: 2 lastOffset: 2 count: 1 baseSequence: 0 lastSequence: 0 producerId: 8 producerEpoch: 1 partitionLeaderEpoch: 0 " +
			"isTransactional: true isControl: false deleteHorizonMs: none position: 166 CreateTime: 1795470822513 size: 88 magic: 2 " +
			"compresscodec: none crc: 3503417616 isvalid: true",
		5: "| offset: 2 CreateTime: 1795470822513 keySize: 1 valueSize: 16 sequence: 0 headerKeys: [h] key: b payload: in a transaction",
		7: "| offset: 3 CreateTime: 1795470822554 keySize: 4 valueSize: 6 sequence: -1 endTxnMarker: ABORT coordinatorEpoch: 0",
	}
	if len(lines) != 8 {
		t.Fatalf("%d lines:\n%s", len(lines), out)
	}
	for i, line := range want {
		if lines[i] != line {
			t.Errorf("line %d\n got %s\nwant %s", i, lines[i], line)
		}
	}
	for file, want := range map[string]string{
		segment + ".txnindex":                     "version: 0 producerId: 8 firstOffset: 2 lastOffset: 3 lastStableOffset: 4\n",
		"testdata/00000000000000087588.timeindex": "timestamp: 1795470471124 offset: 94886\n",
		"testdata/00000000000000087588.snapshot": "producerId: 1 producerEpoch: 0 lastSequence: 87587 firstOffset: 80289 lastOffset: 87587 " +
			"offsetDelta: 7298 lastTimestamp: 1795470471107 coordinatorEpoch: -1 currentTxnFirstOffset: -1\n",
	} {
		if out, _, err := run(t, "", "log", "dump", file); err != nil || out != want {
			t.Errorf("%s: %v\n got %s\nwant %s", file, err, out, want)
		}
	}
}

func TestDumpAsJSON(t *testing.T) {
	out, _, err := run(t, "", "log", "dump", "--records", "--output", "json", segment+".log")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if want := `"headerKeys":"[h]","key":"a","payload":"in a transaction"}`; !strings.HasSuffix(lines[1], want) {
		t.Errorf("got %s, want …%s", lines[1], want)
	}
}

// TestDumpStopsAtPreallocatedZeros: an active segment's index is preallocated with zeros.
func TestDumpStopsAtPreallocatedZeros(t *testing.T) {
	// offset 0 at position 0 is an entry at the front
	index := binary.BigEndian.AppendUint64(nil, 0)
	index = binary.BigEndian.AppendUint64(index, 7<<32|4096)
	name := filepath.Join(t.TempDir(), "00000000000000000100.index")
	if err := os.WriteFile(name, append(index, make([]byte, 800)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _, err := run(t, "", "log", "dump", name); err != nil || out != "offset: 100 position: 0\noffset: 107 position: 4096\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestDumpOfDamage: damage is reported with its place, after what precedes it.
func TestDumpOfDamage(t *testing.T) {
	whole, err := os.ReadFile(segment + ".log")
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := os.ReadFile("testdata/00000000000000087588.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	flip := func(data []byte, at int) []byte {
		damaged := append([]byte{}, data...)
		damaged[at] ^= 0x40
		return damaged
	}
	for name, c := range map[string]struct {
		file  string
		data  []byte
		lines int
		want  string
	}{
		"cut in a header":     {"00000000000000000000.log", whole[:100], 1, "at byte 88 of 100"},
		"cut in a batch":      {"00000000000000000000.log", whole[:240], 2, "at byte 166 of 240: record batch is truncated: it has 88 bytes, 74 are left"},
		"a flipped bit":       {"00000000000000000000.log", flip(whole, 160), 2, "at byte 88 of 332"},
		"a huge length":       {"00000000000000000000.log", flip(whole, 8), 0, "at byte 0 of 332"},
		"an old magic":        {"00000000000000000000.log", flip(whole, 16), 0, "magic"},
		"half an entry":       {"00000000000000000000.index", make([]byte, 12), 1, "4 bytes follow"},
		"a name of no offset": {"active.index", make([]byte, 8), 0, "20 digits"},
		"a txnindex of later": {"00000000000000000000.txnindex", append([]byte{0, 9}, make([]byte, 32)...), 0, "version 9"},
		"a snapshot's bit":    {"00000000000000000005.snapshot", flip(snapshot, 30), 0, "CRC"},
		"a short snapshot":    {"00000000000000000005.snapshot", snapshot[:5], 0, "less than a header"},
		"a cut snapshot":      {"00000000000000000005.snapshot", snapshot[:50], 0, "CRC"},
	} {
		path := filepath.Join(t.TempDir(), c.file)
		if err = os.WriteFile(path, c.data, 0o600); err != nil {
			t.Fatal(err)
		}
		out, _, err := run(t, "", "log", "dump", path)
		if !errors.Is(err, errDamaged) && c.file != "active.index" || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
		if got := strings.Count(out, "\n"); got != c.lines {
			t.Errorf("%s: %d lines before it, want %d", name, got, c.lines)
		}
	}
}

// FuzzDump: for any file a dump ends and does not panic.
func FuzzDump(f *testing.F) {
	extensions := []string{".log", ".index", ".timeindex", ".txnindex", ".snapshot"}
	for i, name := range []string{segment + ".log", segment + ".txnindex", "testdata/00000000000000087588.snapshot"} {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8([]int{0, 3, 4}[i]), data)
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		name := filepath.Join(t.TempDir(), "00000000000000000000"+extensions[int(kind)%len(extensions)])
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, _ = run(t, "", "log", "dump", "--records", name)
	})
}
