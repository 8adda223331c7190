package tiering

import (
	"bytes"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
)

// goldenObject is a whole segment object. testdata/segment.hex holds it as the
// first version wrote it.
func goldenObject(t testing.TB) (*object, storage.SegmentFiles) {
	t.Helper()
	log := make([]byte, 2*minChunkBytes+100)
	for i := range log {
		log[i] = byte(i * 7)
	}
	files := storage.SegmentFiles{
		Log: section(log), Index: section(bytes.Repeat([]byte{1, 2}, 8)), TimeIndex: section(bytes.Repeat([]byte{3, 4}, 6)),
		Snapshot: section([]byte("producers")), LeaderEpochs: []storage.EpochEntry{{Epoch: 2, StartOffset: 0}, {Epoch: 5, StartOffset: 1100}},
	}
	obj, err := newObject(footer{
		topicID: metadata.TopicID{1, 2, 3}, partition: 7, leaderEpoch: 5, baseOffset: 1000, startOffset: 1010, endOffset: 1200,
		maxTimestamp: 1_700_000_000_000, createdMs: 1_700_000_001_000, chunkBytes: minChunkBytes,
	}, files)
	if err != nil {
		t.Fatal(err)
	}
	return obj, files
}

func goldenTail(t testing.TB) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/segment_tail.hex")
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(string(bytes.ReplaceAll(text, []byte("\n"), nil)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSegmentObjectIsGolden(t *testing.T) {
	obj, _ := goldenObject(t)
	got, err := io.ReadAll(obj.body())
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(got)) != obj.footer.objectBytes() {
		t.Fatalf("object has %d bytes, footer says %d", len(got), obj.footer.objectBytes())
	}
	tailBytes := got[obj.footer.logBytes:]
	if os.Getenv("VARVE_REWRITE") != "" {
		var out bytes.Buffer
		for rest := tailBytes; len(rest) > 0; rest = rest[min(32, len(rest)):] {
			out.WriteString(hex.EncodeToString(rest[:min(32, len(rest))]) + "\n")
		}
		if err = os.WriteFile("testdata/segment_tail.hex", out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(tailBytes, goldenTail(t)) {
		t.Fatalf("tail of the object has changed:\n%x", tailBytes)
	}
}

func TestTailReadsWhatWasWritten(t *testing.T) {
	obj, files := goldenObject(t)
	got, err := parseTail(goldenTail(t))
	if err != nil {
		t.Fatal(err)
	}
	if got.footer != obj.footer {
		t.Errorf("footer %+v, want %+v", got.footer, obj.footer)
	}
	if string(got.snapshot) != "producers" || len(got.offsetIndex) != 16 || len(got.timeIndex) != 12 || len(got.txnIndex) != 0 {
		t.Errorf("parts are wrong: %+v", got)
	}
	if len(got.epochs) != 2 || got.epochs[1] != files.LeaderEpochs[1] {
		t.Errorf("epochs %v", got.epochs)
	}
	for i := range got.chunks {
		at, n := got.chunk(i)
		b := make([]byte, n)
		if _, err = files.Log.ReadAt(b, at); err != nil {
			t.Fatal(err)
		}
		if crc32.Checksum(b, castagnoli) != got.chunks[i] {
			t.Errorf("checksum of chunk %d", i)
		}
	}
}

// Any damage to the tail is noticed.
func TestTailNoticesEveryFlippedBit(t *testing.T) {
	good := goldenTail(t)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		if _, err := parseTail(bad); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupportedFormat) {
			t.Fatalf("flip in byte %d of %d: %v", i, len(good), err)
		}
	}
	for n := range good {
		if _, err := parseTail(good[n+1:]); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("without the first %d bytes: %v", n+1, err)
		}
		if _, err := parseTail(good[:n]); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupportedFormat) {
			t.Fatalf("only the first %d bytes: %v", n, err)
		}
	}
}

func TestNewerFooterIsNotCorrupt(t *testing.T) {
	b := goldenTail(t)
	b[len(b)-footerSize+posVersion+1] = 2
	if _, err := parseTail(b); !errors.Is(err, ErrUnsupportedFormat) {
		t.Fatalf("got %v, want ErrUnsupportedFormat", err)
	}
}

func TestCompositeReadsLikeOneFile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var c composite
	var want []byte
	for range 20 {
		b := make([]byte, rng.IntN(50))
		for i := range b {
			b[i] = byte(rng.IntN(256))
		}
		c.add(section(b))
		want = append(want, b...)
	}
	for range 2000 {
		at, n := rng.IntN(len(want)+5), rng.IntN(80)
		got := make([]byte, n)
		read, err := c.ReadAt(got, int64(at))
		expect := want[min(at, len(want)):min(at+n, len(want))]
		if !bytes.Equal(got[:read], expect) {
			t.Fatalf("read %d at %d: wrong bytes", n, at)
		}
		if wantErr := at+n > len(want) && n > 0; (err != nil) != wantErr || (err != nil && !errors.Is(err, io.EOF)) {
			t.Fatalf("read %d at %d of %d: %v", n, at, len(want), err)
		}
	}
}

// A file that has become shorter must not end up as a shorter object.
func TestShrunkenFileFailsTheUpload(t *testing.T) {
	short := io.NewSectionReader(bytes.NewReader(make([]byte, 10)), 0, 20)
	if _, err := newObject(footer{endOffset: 1, chunkBytes: minChunkBytes}, storage.SegmentFiles{Log: short}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("build: %v, want io.ErrUnexpectedEOF", err)
	}
	var c composite
	c.add(short)
	c.add(section([]byte("tail")))
	if _, err := io.ReadAll(io.NewSectionReader(&c, 0, c.size)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("read: %v, want io.ErrUnexpectedEOF", err)
	}
}

func FuzzParseTail(f *testing.F) {
	f.Add(goldenTail(f))
	f.Add([]byte(footerMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseTail(b)
		if err != nil {
			return
		}
		if again := got.append(nil); !bytes.Equal(again, b[len(b)-footerSize:]) {
			t.Fatal("the footer does not encode to what it was read from")
		}
	})
}
