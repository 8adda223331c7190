package tiering

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/varvelog/varve/storage"
)

// epochSize is the length of an encoded leader epoch: epoch int32, start int64.
const epochSize = 12

// tail is everything of a segment object that follows the log bytes, decoded
// and checked: one range GET. Its slices alias the bytes it was parsed from and
// are read only, since readers share it.
type tail struct {
	footer
	offsetIndex []byte // as storage's .index file
	timeIndex   []byte // as storage's .timeindex file
	txnIndex    []byte // as storage's .txnindex file
	snapshot    []byte // as storage's .snapshot file
	epochs      []storage.EpochEntry
	chunks      []uint32 // CRC32C of each chunk
	size        int64
}

// parseTail decodes the bytes from the end of the log to the end of the object;
// the tail keeps b.
func parseTail(b []byte) (*tail, error) {
	if len(b) < footerSize {
		return nil, fmt.Errorf("%w: %d bytes are less than a footer", ErrCorrupt, len(b))
	}
	f, err := parseFooter(b[len(b)-footerSize:])
	if err != nil {
		return nil, err
	}
	if f.objectBytes()-f.logBytes != int64(len(b)) {
		return nil, fmt.Errorf("%w: footer describes %d bytes after the log, there are %d", ErrCorrupt, f.objectBytes()-f.logBytes, len(b))
	}
	var parts [partCount][]byte
	for i, p := range f.parts {
		from := p.position - f.logBytes
		parts[i] = b[from : from+p.length : from+p.length]
		if crc32.Checksum(parts[i], castagnoli) != p.checksum {
			return nil, fmt.Errorf("%w: checksum of part %d after the log", ErrCorrupt, i)
		}
	}
	t := &tail{
		footer:      f,
		offsetIndex: parts[partOffsetIndex],
		timeIndex:   parts[partTimeIndex],
		txnIndex:    parts[partTxnIndex],
		snapshot:    parts[partSnapshot],
		epochs:      parseEpochs(parts[partEpochs]),
		chunks:      make([]uint32, f.chunkCount()),
		size:        int64(len(b)),
	}
	for i := range t.chunks {
		t.chunks[i] = binary.BigEndian.Uint32(parts[partChunks][4*i:])
	}
	return t, nil
}

// chunk is where a chunk of the log bytes is.
func (t *tail) chunk(i int) (position int64, length int) {
	position = int64(i) * int64(t.chunkBytes)
	return position, int(min(int64(t.chunkBytes), t.logBytes-position))
}

func appendEpochs(dst []byte, epochs []storage.EpochEntry) []byte {
	for _, e := range epochs {
		dst = binary.BigEndian.AppendUint32(dst, uint32(e.Epoch))
		dst = binary.BigEndian.AppendUint64(dst, uint64(e.StartOffset))
	}
	return dst
}

func parseEpochs(b []byte) []storage.EpochEntry {
	epochs := make([]storage.EpochEntry, len(b)/epochSize)
	for i := range epochs {
		at := b[i*epochSize:]
		epochs[i] = storage.EpochEntry{
			Epoch:       int32(binary.BigEndian.Uint32(at)),
			StartOffset: int64(binary.BigEndian.Uint64(at[4:])),
		}
	}
	return epochs
}
