package record

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
