package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"
)

// Kafka's Java clients frame snappy as the xerial library does: a header of 16 bytes, then blocks
// of at most 32 KiB of input, each preceded by its length. Other clients send one bare block.
var xerialHeader = []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}

const (
	xerialMagicSize = 8 // bytes that a reader compares; the versions after them vary
	xerialBlockSize = 32 << 10
)

var errSnappyFrame = errors.New("snappy frame ends early")

func appendXerial(dst, src []byte) []byte {
	dst = append(dst, xerialHeader...)
	for len(src) > 0 {
		n := min(len(src), xerialBlockSize)
		block := s2.EncodeSnappy(nil, src[:n])
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(block)))
		dst = append(dst, block...)
		src = src[n:]
	}
	return dst
}

func decompressSnappy(dst, src []byte, limit int) ([]byte, error) {
	if len(src) < len(xerialHeader) || !bytes.Equal(src[:xerialMagicSize], xerialHeader[:xerialMagicSize]) {
		return appendSnappyBlock(dst, src, len(dst)+limit)
	}
	end := len(dst) + limit
	src = src[len(xerialHeader):]
	var err error
	for len(src) > 0 {
		if len(src) < 4 {
			return nil, errSnappyFrame
		}
		n := int64(binary.BigEndian.Uint32(src))
		if n > int64(len(src)-4) {
			return nil, errSnappyFrame
		}
		if dst, err = appendSnappyBlock(dst, src[4:4+n], end); err != nil {
			return nil, err
		}
		src = src[4+n:]
	}
	return dst, nil
}

// appendSnappyBlock appends one decoded block to dst, which may grow to end bytes.
func appendSnappyBlock(dst, block []byte, end int) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	if err != nil {
		return nil, err
	}
	// A block cannot decode to more than this multiple of its size. A false length is thus rejected
	// before memory is allocated for it.
	if n > end-len(dst) || n > 64*len(block)+64 {
		return nil, fmt.Errorf("%w: a block announces %d bytes", ErrTooLarge, n)
	}
	out, err := s2.Decode(nil, block)
	if err != nil {
		return nil, err
	}
	return append(dst, out...), nil
}
