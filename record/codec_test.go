package record

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kgo"
)

// clientCodecs maps this package's codecs to those of franz-go's producer.
var clientCodecs = map[Codec]kgo.CompressionCodec{
	CodecGzip: kgo.GzipCompression(), CodecSnappy: kgo.SnappyCompression(), CodecLZ4: kgo.Lz4Compression(), CodecZstd: kgo.ZstdCompression(),
}

// samples are payloads that take different paths in the codecs: tiny, below and above the block
// sizes of xerial (32 KiB) and lz4 (64 KiB), and incompressible.
func samples() map[string][]byte {
	random := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, 200_000)
	_, _ = random.Read(noise)
	return map[string][]byte{
		"one byte":      {7},
		"text":          bytes.Repeat([]byte("layer upon layer; "), 50),
		"one block":     bytes.Repeat([]byte{1, 2, 3, 4}, xerialBlockSize/4),
		"block and one": bytes.Repeat([]byte{9}, xerialBlockSize+1),
		"many blocks":   bytes.Repeat([]byte("abcdefghij"), 40_000),
		"noise":         noise,
	}
}

// A client must be able to decompress what this package compresses, at every level, and vice versa.
func TestCodecsAgreeWithFranzGo(t *testing.T) {
	theirs := kgo.DefaultDecompressor()
	for codec, clientCodec := range clientCodecs {
		compressor, err := kgo.DefaultCompressor(clientCodec)
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range samples() {
			for _, level := range []int{0, 1, 3, 6, 9} {
				ours, err := codec.Compress([]byte("prefix"), data, level)
				if err != nil || !bytes.HasPrefix(ours, []byte("prefix")) {
					t.Fatalf("%v, %s, level %d: compress: %v", codec, name, level, err)
				}
				got, err := theirs.Decompress(ours[6:], kgo.CompressionCodecType(codec))
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%v, %s, level %d: franz-go reads %d bytes, %v, want %d", codec, name, level, len(got), err, len(data))
				}
			}
			compressed, used := compressor.Compress(new(bytes.Buffer), data)
			if used != kgo.CompressionCodecType(codec) {
				t.Fatalf("%v: franz-go used %v", codec, used)
			}
			got, err := codec.Decompress([]byte("prefix"), compressed, len(data))
			if err != nil || !bytes.Equal(got, append([]byte("prefix"), data...)) {
				t.Errorf("%v, %s: of franz-go's bytes come %d, %v, want %d", codec, name, len(got)-6, err, len(data))
			}
		}
	}
}

// Each level that a library distinguishes must produce different bytes. Kafka's levels beyond those
// of the library must be accepted too.
func TestLevelsAreUsed(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 0, 64<<10)
	// Text of few words: a thorough search finds matches that a quick one misses.
	for len(data) < 64<<10 {
		data = fmt.Appendf(data, "%d:%s ", random.IntN(500), strings.Repeat("ab", random.IntN(9)))
	}
	for _, c := range []struct {
		codec          Codec
		levels         []int // that differ, the quick ones first
		same, sameAs   []int
		worse, thanLvl int
	}{
		{CodecGzip, []int{1, 6, 9}, []int{0, -1}, []int{6, 6}, 1, 9},
		{CodecLZ4, []int{9, 1, 3, 8}, []int{0, 17}, []int{9, 10}, 9, 17},
		{CodecZstd, []int{-131072, 3, 6, 10}, []int{0, 22, 1}, []int{3, 10, -5}, 1, 22},
	} {
		sizes := map[int]int{}
		size := func(level int) int {
			if n, ok := sizes[level]; ok {
				return n
			}
			packed, err := c.codec.Compress(nil, data, level)
			if err != nil {
				t.Fatalf("%v, level %d: %v", c.codec, level, err)
			}
			if got, err := c.codec.Decompress(nil, packed, len(data)); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%v, level %d: %d bytes come back, %v", c.codec, level, len(got), err)
			}
			sizes[level] = len(packed)
			return len(packed)
		}
		for i, level := range c.levels {
			for _, other := range c.levels[:i] {
				if size(level) == size(other) {
					t.Errorf("%v: levels %d and %d give the same", c.codec, level, other)
				}
			}
		}
		for i, level := range c.same {
			if size(level) != size(c.sameAs[i]) {
				t.Errorf("%v: level %d is not %d", c.codec, level, c.sameAs[i])
			}
		}
		if size(c.worse) <= size(c.thanLvl) {
			t.Errorf("%v: level %d makes %d bytes, level %d %d", c.codec, c.worse, size(c.worse), c.thanLvl, size(c.thanLvl))
		}
	}
}

// The snappy stream of the Java producer must decode. Cut short, it must be rejected, except at a
// block boundary.
func TestXerialFraming(t *testing.T) {
	const header = "\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
	hello, world := "\x00\x00\x00\x07\x05\x10hello", "\x00\x00\x00\x08\x06\x14 world"
	stream := []byte(header + hello + world)
	if got, err := CodecSnappy.Decompress(nil, stream, 11); err != nil || string(got) != "hello world" {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := CodecSnappy.Decompress(nil, stream, 10); !errors.Is(err, ErrTooLarge) {
		t.Errorf("one byte over the limit over all blocks: %v", err)
	}
	for n := len(header) + 1; n < len(stream); n++ {
		if n == len(header)+len(hello) {
			continue // a prefix of whole blocks is a valid stream
		}
		if _, err := CodecSnappy.Decompress(nil, stream[:n], 100); !errors.Is(err, ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	written, err := CodecSnappy.Compress(nil, []byte("hello"), 0)
	if err != nil || string(written) != header+hello {
		t.Errorf("wrote %q, %v", written, err)
	}
}

// A frame of a few bytes that announces a large window or a large content must not cost the memory
// that it announces: clients choose these bytes.
func TestAnnouncedSizesCostNothing(t *testing.T) {
	for name, frame := range map[string]string{
		"zstd, an unknown content size in a window of 128 MiB": "\x28\xb5\x2f\xfd\x00\x88\x01\x00\x00",
		"zstd, 100 MiB of content":                             "\x28\xb5\x2f\xfd\xa0\x00\x00\x40\x06\x01\x00\x00",
	} {
		var header zstd.Header
		if err := header.Decode([]byte(frame)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		// One call: decoders are pooled, and a mean over many calls would hide the cost of the
		// first.
		_, _ = CodecZstd.Decompress(nil, []byte(frame), 1<<20)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 4<<20 {
			t.Errorf("%s: %d bytes allocated, the limit is 1 MiB", name, got)
		}
	}
}

func TestGarbageIsCorrupt(t *testing.T) {
	for _, codec := range codecs[1:] {
		for name, garbage := range map[string][]byte{"empty": {}, "zeros": make([]byte, 64), "text": []byte("not compressed at all")} {
			if codec == CodecLZ4 && name == "empty" || codec == CodecZstd && name == "empty" {
				continue // no frames at all is valid and empty
			}
			if got, err := codec.Decompress(nil, garbage, 1<<20); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("%v, %s: %d bytes, %v", codec, name, len(got), err)
			}
		}
	}
	if _, err := Codec(7).Decompress(nil, []byte{1}, 10); !errors.Is(err, ErrCorrupt) {
		t.Errorf("codec 7: %v", err)
	}
	if _, err := Codec(7).Compress(nil, []byte{1}, 0); !errors.Is(err, ErrCorrupt) {
		t.Errorf("codec 7: %v", err)
	}
}

func FuzzDecompress(f *testing.F) {
	for _, codec := range codecs {
		data, err := codec.Compress(nil, []byte("hello, hello, hello"), 0)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(int8(codec), data, 100)
		f.Add(int8(codec), data, 3)
	}
	f.Fuzz(func(t *testing.T, codec int8, data []byte, limit int) {
		limit = min(max(limit, 0), 1<<20)
		out, err := Codec(codec).Decompress([]byte("dst"), data, limit)
		if err == nil && (len(out) > limit+3 || !bytes.HasPrefix(out, []byte("dst"))) {
			t.Fatalf("%d bytes with a limit of %d", len(out)-3, limit)
		}
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrTooLarge) {
			t.Fatalf("an error of no kind: %v", err)
		}
	})
}

func BenchmarkCodecs(b *testing.B) {
	data := samples()["many blocks"][:100_000]
	for _, codec := range codecs[1:] {
		packed, err := codec.Compress(nil, data, 0)
		if err != nil {
			b.Fatal(err)
		}
		var buf []byte
		b.Run(codec.String()+"/compress", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = codec.Compress(buf[:0], data, 0)
			}
		})
		b.Run(codec.String()+"/decompress", func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = codec.Decompress(buf[:0], packed, len(data))
			}
		})
	}
}
