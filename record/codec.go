package record

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is how the records of a batch are compressed: the low three bits of its attributes.
type Codec int8

// The codecs of the format.
const (
	CodecNone Codec = iota
	CodecGzip
	CodecSnappy
	CodecLZ4
	CodecZstd
)

// ErrTooLarge says that a payload decompresses to more than the caller allows.
var ErrTooLarge = errors.New("decompressed records are too large")

// String is the codec's name in Kafka's compression.type.
func (c Codec) String() string {
	switch c {
	case CodecNone:
		return "none"
	case CodecGzip:
		return "gzip"
	case CodecSnappy:
		return "snappy"
	case CodecLZ4:
		return "lz4"
	case CodecZstd:
		return "zstd"
	}
	return fmt.Sprintf("codec(%d)", int8(c))
}

// Compress appends the compressed form of src to dst. A level of 0 is the
// codec's default; the others are those of Kafka's compression.<codec>.level,
// brought to the nearest that the libraries have:
//
//   - gzip: -1 (the default, which is 6) and 1 to 9, as they are.
//   - lz4: 9, Kafka's default, is the fast compressor, as in Kafka. The others are
//     the thorough one's levels 1 to 8 as they are, and above 9 its last one.
//   - zstd: four speeds stand for below 3, 3 (the default) to 5, 6 to 9, and 10 and above.
//   - snappy and none have no levels.
func (c Codec) Compress(dst, src []byte, level int) ([]byte, error) {
	switch c {
	case CodecNone:
		return append(dst, src...), nil
	case CodecGzip:
		return compressGzip(dst, src, level)
	case CodecSnappy:
		return appendXerial(dst, src), nil
	case CodecLZ4:
		return compressLZ4(dst, src, level)
	case CodecZstd:
		return compressZstd(dst, src, level)
	}
	return nil, fmt.Errorf("%w: unknown %v", ErrCorrupt, c)
}

// Decompress appends what src decompresses to to dst. Output beyond limit bytes
// is ErrTooLarge; bytes that are not of this codec are ErrCorrupt.
func (c Codec) Decompress(dst, src []byte, limit int) ([]byte, error) {
	var out []byte
	var err error
	switch c {
	case CodecNone:
		if len(src) > limit {
			return nil, ErrTooLarge
		}
		return append(dst, src...), nil
	case CodecGzip:
		out, err = decompressGzip(dst, src, limit)
	case CodecSnappy:
		out, err = decompressSnappy(dst, src, limit)
	case CodecLZ4:
		out, err = decompressLZ4(dst, src, limit)
	case CodecZstd:
		out, err = decompressZstd(dst, src, limit)
	default:
		err = fmt.Errorf("unknown %v", c)
	}
	if err != nil && !errors.Is(err, ErrTooLarge) {
		return nil, fmt.Errorf("%w: %v: %w", ErrCorrupt, c, err)
	}
	return out, err
}

// Encoders and decoders keep large tables, so they are used again.
var (
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}
	lz4Readers  = sync.Pool{New: func() any { return lz4.NewReader(nil) }}
	zstdReaders = sync.Pool{New: func() any {
		r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdMaxWindow), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
		if err != nil {
			panic(err) // only the options above can be wrong
		}
		return r
	}}
	zstdWriters sync.Map // zstd.EncoderLevel → *zstd.Encoder, whose EncodeAll may be shared
)

// gzipDefault is what -1 means to zlib; to our library it is another level.
const gzipDefault = 6

func compressGzip(dst, src []byte, level int) ([]byte, error) {
	if level <= 0 {
		level = gzipDefault
	}
	buf := bytes.NewBuffer(dst)
	w, err := gzip.NewWriterLevel(buf, level)
	if err != nil {
		return nil, err
	}
	if _, err = w.Write(src); err != nil {
		return nil, err
	}
	err = w.Close()
	return buf.Bytes(), err
}

func decompressGzip(dst, src []byte, limit int) ([]byte, error) {
	r := gzipReaders.Get().(*gzip.Reader)
	defer gzipReaders.Put(r)
	if err := r.Reset(bytes.NewReader(src)); err != nil {
		return nil, err
	}
	return readBounded(dst, r, limit)
}

func compressLZ4(dst, src []byte, level int) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	w := lz4.NewWriter(buf)
	if err := w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.CompressionLevelOption(lz4Level(level))); err != nil {
		return nil, err
	}
	if _, err := w.Write(src); err != nil {
		return nil, err
	}
	err := w.Close()
	return buf.Bytes(), err
}

// lz4Default is the level for which Kafka takes another, faster compressor.
const lz4Default = 9

func lz4Level(level int) lz4.CompressionLevel {
	if level <= 0 || level == lz4Default {
		return lz4.Fast
	}
	return lz4.CompressionLevel(1 << (8 + min(level, 9)))
}

func decompressLZ4(dst, src []byte, limit int) ([]byte, error) {
	r := lz4Readers.Get().(*lz4.Reader)
	defer lz4Readers.Put(r)
	r.Reset(bytes.NewReader(src))
	return readBounded(dst, r, limit)
}

func compressZstd(dst, src []byte, level int) ([]byte, error) {
	if level == 0 {
		level = 3
	}
	speed := zstd.EncoderLevelFromZstd(level)
	w, ok := zstdWriters.Load(speed)
	if !ok {
		made, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithLowerEncoderMem(true)) // as many at a time as there are CPUs
		if err != nil {
			return nil, err
		}
		w, _ = zstdWriters.LoadOrStore(speed, made)
	}
	return w.(*zstd.Encoder).EncodeAll(src, dst), nil
}

// zstdMaxWindow is the largest window that zstd's levels ask for (level 22).
const zstdMaxWindow = 128 << 20

// decompressZstd decodes into a buffer that grows until the data fits or limit
// is reached. The decoder never writes past the capacity it is given, so that
// neither an announced window nor an announced content size costs memory, which
// the streaming decoder would take for both at the first block.
func decompressZstd(dst, src []byte, limit int) ([]byte, error) {
	r := zstdReaders.Get().(*zstd.Decoder)
	defer zstdReaders.Put(r)
	for room := min(limit, 8*len(src)+4096); ; room = min(limit, 4*room) {
		dst = slices.Grow(dst, room)
		out, err := r.DecodeAll(src, dst[:len(dst):len(dst)+room])
		switch {
		case err == nil:
			return out, nil
		case !errors.Is(err, zstd.ErrDecoderSizeExceeded):
			return nil, err
		case room >= limit:
			return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
	}
}

// readBounded appends all of r to dst, at most limit bytes. It grows with what
// comes, not with what a frame announces.
func readBounded(dst []byte, r io.Reader, limit int) ([]byte, error) {
	buf := bytes.NewBuffer(dst)
	n, err := io.Copy(buf, io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return nil, err
	}
	if n > int64(limit) {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	}
	return buf.Bytes(), nil
}
