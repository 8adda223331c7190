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

// Codec is the compression of a batch's records: the low three bits of the attributes.
type Codec int8

// The codecs of the format.
const (
	CodecNone Codec = iota
	CodecGzip
	CodecSnappy
	CodecLZ4
	CodecZstd
)

// ErrTooLarge reports that a payload decompresses to more than the caller allows.
var ErrTooLarge = errors.New("decompressed records are too large")

// String is the codec's name in Kafka's setting compression.type.
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

// Compress appends the compressed form of src to dst. A level of 0 is the codec's default. Other
// levels are those of Kafka's compression.<codec>.level, mapped to the nearest level of the
// library:
//
//   - gzip: -1 (the default, 6) and 1 to 9 are used unchanged.
//   - lz4: 9, Kafka's default, selects the fast compressor, as in Kafka. Levels 1 to 8 are those of
//     the high-compression one; levels above 9 select its highest.
//   - zstd: the library has four speeds, for levels below 3, 3 (the default) to 5, 6 to 9, and 10
//     and above.
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

// Decompress appends the decompressed form of src to dst. It returns ErrTooLarge if the output
// exceeds limit bytes, and ErrCorrupt if src is not valid in this codec.
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

// Encoders and decoders hold large tables, so they are pooled.
var (
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}
	lz4Readers  = sync.Pool{New: func() any { return lz4.NewReader(nil) }}
	zstdReaders = sync.Pool{New: func() any {
		r, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdMaxWindow), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderLowmem(true))
		if err != nil {
			panic(err) // only invalid options fail
		}
		return r
	}}
	zstdWriters sync.Map // zstd.EncoderLevel → *zstd.Encoder; EncodeAll may run concurrently
)

// gzipDefault is the meaning of -1 in zlib. The library's own default is another level.
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

// lz4Default is the level at which Kafka uses another, faster compressor.
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
		// The encoder runs as many EncodeAll calls at a time as there are CPUs.
		made, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(speed), zstd.WithLowerEncoderMem(true))
		if err != nil {
			return nil, err
		}
		w, _ = zstdWriters.LoadOrStore(speed, made)
	}
	return w.(*zstd.Encoder).EncodeAll(src, dst), nil
}

// zstdMaxWindow is the largest window of any zstd level (level 22), in bytes.
const zstdMaxWindow = 128 << 20

// decompressZstd decodes into a buffer that grows until the data fits or limit is reached. The
// decoder never writes beyond the given capacity, so neither an announced window nor an announced
// content size costs memory. The streaming decoder would allocate for both at the first block.
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

// readBounded appends everything that r yields to dst, at most limit bytes. The buffer grows with
// the data that arrives, not with the size that a frame announces.
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
