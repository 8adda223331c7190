package format

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/varvelog/varve/metadata"
)

const goldenLogBytes = 2*MinChunkBytes + 100

func goldenDescription() *Description {
	return &Description{
		ClusterID: "cluster", Topic: "orders", TopicID: metadata.TopicID{1, 2, 3}, Partition: 7, LeaderEpoch: 5, BrokerID: 1, CreatedMs: 1_700_000_001_000,
		BaseOffset: 1000, StartOffset: 1010, EndOffset: 1200, LogStart: 900, MinTimestamp: 1_690_000_000_000, MaxTimestamp: 1_700_000_000_000,
		Records: 190, Batches: 12, Aborted: 1, LogBytes: goldenLogBytes, ChunkBytes: MinChunkBytes,
	}
}

func goldenDirectory() Directory {
	return Directory{
		{Position: 0, StoredBytes: 4000, PlainBytes: 4000, BaseOffset: 1000, MaxTimestamp: -1, CRC32C: 1, Batches: 5},
		{Position: 4000, StoredBytes: 4001, PlainBytes: 4001, BaseOffset: 1080, MaxTimestamp: 1_700_000_000_000, CRC32C: 2, Batches: 6},
		{Position: 8001, StoredBytes: goldenLogBytes - 8001, PlainBytes: goldenLogBytes - 8001, BaseOffset: 1190, MaxTimestamp: 1_700_000_000_000, CRC32C: 3, Batches: 1},
	}
}

// section is a part and its content.
type section struct {
	kind    PartType
	flags   uint16
	content []byte
}

// goldenEnd returns everything after the log bytes of a segment object. change may change the
// parts.
func goldenEnd(t fataler, change func(parts []section) []section) []byte {
	t.Helper()
	description, err := goldenDescription().Encode()
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	parts := []section{
		{PartSnapshot, 0, []byte("producers")},
		{PartEpochs, 0, AppendEpochs(nil, []Epoch{{2, 0}, {5, 1100}})},
		{PartTimeIndex, 0, bytes.Repeat([]byte{3, 4}, 6)},
		{PartOffsetIndex, 0, bytes.Repeat([]byte{1, 2}, 8)},
		{PartDescription, PartCritical, description},
		{PartDirectory, PartCritical, goldenDirectory().Append(nil)},
	}
	if change != nil {
		parts = change(parts)
	}
	var end []byte
	l := NewLayout(goldenLogBytes)
	for _, p := range parts {
		l.Add(p.kind, p.flags, int64(len(p.content)), Checksum(p.content))
		end = append(end, p.content...)
	}
	return append(end, l.End()...)
}

// hotOf cuts an end down to the hot bytes.
func hotOf(t fataler, end []byte) []byte {
	t.Helper()
	size := int64(goldenLogBytes + len(end))
	trailer, err := ParseTrailer(end[len(end)-TrailerSize:], size)
	if err != nil {
		t.Fatalf("trailer: %v", err)
	}
	parts, err := trailer.ParseTable(end[trailer.TablePosition-goldenLogBytes : len(end)-TrailerSize])
	if err != nil {
		t.Fatalf("table: %v", err)
	}
	hot, err := HotBytes(parts, size)
	if err != nil {
		t.Fatalf("hot bytes: %v", err)
	}
	return end[int64(len(end))-hot:]
}

func TestIndexReadsWhatWasWritten(t *testing.T) {
	end := goldenEnd(t, nil)
	size := int64(goldenLogBytes + len(end))
	hot := hotOf(t, end)
	if len(hot) > 900 {
		t.Errorf("%d hot bytes for three chunks", len(hot))
	}
	x, err := ParseIndex(hot, size)
	if err != nil {
		t.Fatal(err)
	}
	if d := x.Description; d.EndOffset != 1200 || d.Topic != "orders" || d.LogBytes != goldenLogBytes || d.Aborted != 1 {
		t.Errorf("description %+v", d)
	}
	if !slices.Equal(x.Chunks, goldenDirectory()) {
		t.Errorf("directory %+v", x.Chunks)
	}
	p, ok := x.Part(PartEpochs)
	epochs, err := ParseEpochs(end[p.Position-goldenLogBytes : p.End()-goldenLogBytes])
	if !ok || err != nil || !slices.Equal(epochs, []Epoch{{2, 0}, {5, 1100}}) {
		t.Errorf("epochs %v, %v", epochs, err)
	}
	if _, ok = x.Part(PartTxnIndex); ok {
		t.Error("there is a transaction index")
	}
}

func TestDirectoryLookUps(t *testing.T) {
	d := goldenDirectory()
	for offset, want := range map[int64]int{0: 0, 999: 0, 1000: 0, 1079: 0, 1080: 1, 1189: 1, 1190: 2, 5000: 2} {
		if got := d.AtOffset(offset); got != want {
			t.Errorf("offset %d is in chunk %d, want %d", offset, got, want)
		}
	}
	for ts, want := range map[int64]int{-1: 0, 0: 1, 1_700_000_000_000: 1, 1_700_000_000_001: 3} {
		if got := d.AtTime(ts); got != want {
			t.Errorf("time %d is in chunk %d, want %d", ts, got, want)
		}
	}
}

// Any damage to the hot bytes is noticed.
func TestIndexNoticesEveryFlippedBit(t *testing.T) {
	end := goldenEnd(t, nil)
	size := int64(goldenLogBytes + len(end))
	good := hotOf(t, end)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if _, err := ParseIndex(bad, size); !isDamage(err) {
			t.Fatalf("flip in byte %d of %d: %v", i, len(good), err)
		}
	}
	for n := range good {
		if _, err := ParseIndex(good[n+1:], size); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("without the first %d bytes: %v", n+1, err)
		}
		if _, err := ParseIndex(good[:n], size); !isDamage(err) {
			t.Fatalf("only the first %d bytes: %v", n, err)
		}
	}
	if _, err := ParseIndex(good, size+1); !errors.Is(err, ErrCorrupt) {
		t.Errorf("in a larger object: %v", err)
	}
}

// No checksum can notice an object that was written wrongly.
func TestIndexThatMakesNoSenseIsRefused(t *testing.T) {
	directory := func(change func(d Directory) Directory) func([]section) []section {
		return func(parts []section) []section {
			parts[5].content = change(goldenDirectory()).Append(nil)
			return parts
		}
	}
	description := func(change func(d *Description)) func([]section) []section {
		return func(parts []section) []section {
			d := goldenDescription()
			change(d)
			parts[4].content, _ = d.Encode()
			return parts
		}
	}
	for name, change := range map[string]func(parts []section) []section{
		"no chunks":               directory(func(Directory) Directory { return nil }),
		"a chunk is missing":      directory(func(d Directory) Directory { return d[:2] }),
		"chunks overlap":          directory(func(d Directory) Directory { d[1].Position--; return d }),
		"offsets go back":         directory(func(d Directory) Directory { d[2].BaseOffset = 1080; return d }),
		"times go back":           directory(func(d Directory) Directory { d[2].MaxTimestamp--; return d }),
		"a chunk without batches": directory(func(d Directory) Directory { d[0].Batches = 0; return d }),
		"more batches":            directory(func(d Directory) Directory { d[0].Batches++; return d }),
		"a chunk behind the end":  directory(func(d Directory) Directory { d[2].BaseOffset = 1200; return d }),
		"a chunk before the base": directory(func(d Directory) Directory { d[0].BaseOffset = 999; return d }),
		"stored otherwise":        directory(func(d Directory) Directory { d[0].StoredBytes--; return d }),
		"a large chunk": directory(func(d Directory) Directory {
			d[0].StoredBytes, d[0].PlainBytes, d[1] = 8001, 8001, d[2]
			d[0].Batches, d[0].MaxTimestamp = 11, 1_700_000_000_000
			return d[:2]
		}),
		"another newest time":   description(func(d *Description) { d.MaxTimestamp++ }),
		"another length":        description(func(d *Description) { d.LogBytes++ }),
		"no offsets":            description(func(d *Description) { d.EndOffset = d.StartOffset }),
		"tiny chunks":           description(func(d *Description) { d.ChunkBytes = 1 }),
		"no description":        func(parts []section) []section { return slices.Delete(parts, 4, 5) },
		"no directory":          func(parts []section) []section { return parts[:5] },
		"two descriptions":      func(parts []section) []section { return append(parts, parts[4]) },
		"a part too many bytes": func(parts []section) []section { parts[5].content = append(parts[5].content, 0); return parts },
	} {
		t.Run(name, func(t *testing.T) {
			end := goldenEnd(t, change)
			if _, err := ParseIndex(end, int64(goldenLogBytes+len(end))); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("got %v, want ErrCorrupt", err)
			}
		})
	}
}

func TestPartsFromTheFuture(t *testing.T) {
	with := func(flags uint16) []byte {
		return goldenEnd(t, func(parts []section) []section {
			return slices.Insert(parts, 4, section{PartType(300), flags, []byte("bloom filter")})
		})
	}
	end := with(0)
	x, err := ParseIndex(hotOf(t, end), int64(goldenLogBytes+len(end)))
	if err != nil {
		t.Fatalf("with a part that is not critical: %v", err)
	}
	if p, ok := x.Part(300); !ok || p.Bytes != 12 {
		t.Errorf("the part is not there: %+v", x.Parts)
	}
	end = with(PartCritical)
	if _, err = ParseIndex(end, int64(goldenLogBytes+len(end))); !errors.Is(err, ErrUnsupportedFormat) || !strings.Contains(err.Error(), "part 300") {
		t.Errorf("with a critical part: %v", err)
	}

	// Entries of the directory may be longer.
	end = goldenEnd(t, func(parts []section) []section {
		wide := binary.BigEndian.AppendUint32(nil, 3)
		wide = append(binary.BigEndian.AppendUint16(wide, directoryEntrySize+8), 0, 0)
		for e := range slices.Chunk(parts[5].content[directoryHeaderSize:], directoryEntrySize) {
			wide = append(append(wide, e...), "later..."...)
		}
		parts[5].content = wide
		return parts
	})
	if x, err = ParseIndex(end, int64(goldenLogBytes+len(end))); err != nil || !slices.Equal(x.Chunks, goldenDirectory()) {
		t.Errorf("with larger entries: %v", err)
	}
	end = goldenEnd(t, func(parts []section) []section { parts[5].content[7] = 1; return parts })
	if _, err = ParseIndex(end, int64(goldenLogBytes+len(end))); !errors.Is(err, ErrUnsupportedFormat) {
		t.Errorf("with a flag of the directory: %v", err)
	}

	for version, want := range map[byte]string{1: "unreleased build", 3: "upgrade this broker"} {
		end = goldenEnd(t, nil)
		end[len(end)-TrailerSize+posTrailerVersion+1] = version
		if _, err = ParseIndex(end, int64(goldenLogBytes+len(end))); !errors.Is(err, ErrUnsupportedFormat) || !strings.Contains(err.Error(), want) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}
