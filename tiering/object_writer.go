package tiering

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"sort"

	"github.com/varvelog/varve/storage"
)

// object is a segment object that is ready to go up: the local files, of which
// nothing is held in memory, and the small parts that are made for it. The
// files must stay open and unchanged as long as it is used.
type object struct {
	footer footer
	parts  composite
}

// newObject reads the files once, to compute the checksums, and fills in what
// of the footer depends on them. A file that is shorter than it says is an error.
func newObject(f footer, files storage.SegmentFiles) (*object, error) {
	f.logBytes = files.Log.Size()
	if f.logBytes == 0 {
		return nil, fmt.Errorf("build segment object at offset %d: the log is empty", f.baseOffset)
	}
	chunks, err := chunkChecksums(files.Log, int64(f.chunkBytes))
	if err != nil {
		return nil, fmt.Errorf("build segment object at offset %d: read log: %w", f.baseOffset, err)
	}
	tail := [partCount]*io.SectionReader{
		partOffsetIndex: orEmpty(files.Index),
		partTimeIndex:   orEmpty(files.TimeIndex),
		partTxnIndex:    orEmpty(files.TxnIndex),
		partEpochs:      section(appendEpochs(nil, files.LeaderEpochs)),
		partSnapshot:    orEmpty(files.Snapshot),
		partChunks:      section(chunks),
	}
	o := &object{}
	o.parts.add(files.Log)
	position := f.logBytes
	for i, r := range tail {
		sum, sumErr := checksum(r)
		if sumErr != nil {
			return nil, fmt.Errorf("build segment object at offset %d: read part %d: %w", f.baseOffset, i, sumErr)
		}
		f.parts[i] = part{position, r.Size(), sum}
		position += r.Size()
		o.parts.add(r)
	}
	if err = f.validate(); err != nil {
		return nil, fmt.Errorf("build segment object at offset %d: %w", f.baseOffset, err)
	}
	o.footer = f
	o.parts.add(section(f.append(nil)))
	return o, nil
}

// body streams the whole object. It may be called again for another attempt.
func (o *object) body() *io.SectionReader { return io.NewSectionReader(&o.parts, 0, o.parts.size) }

// chunkChecksums is the table of the CRC32C of each chunk.
func chunkChecksums(r *io.SectionReader, chunkBytes int64) ([]byte, error) {
	var table []byte
	for at := int64(0); at < r.Size(); at += chunkBytes {
		sum, err := checksum(io.NewSectionReader(r, at, min(chunkBytes, r.Size()-at)))
		if err != nil {
			return nil, err
		}
		table = binary.BigEndian.AppendUint32(table, sum)
	}
	return table, nil
}

// checksum is the CRC32C of all that r says it has.
func checksum(r *io.SectionReader) (uint32, error) {
	h := crc32.New(castagnoli)
	n, err := io.Copy(h, io.NewSectionReader(r, 0, r.Size()))
	if err == nil && n != r.Size() {
		err = fmt.Errorf("%d of %d bytes: %w", n, r.Size(), io.ErrUnexpectedEOF)
	}
	return h.Sum32(), err
}

func section(b []byte) *io.SectionReader {
	return io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))
}

func orEmpty(r *io.SectionReader) *io.SectionReader {
	if r == nil {
		return section(nil)
	}
	return r
}

// composite is several readers one after the other, as one io.ReaderAt.
type composite struct {
	parts []*io.SectionReader
	ends  []int64 // where each part ends
	size  int64
}

func (c *composite) add(r *io.SectionReader) {
	if r.Size() == 0 {
		return
	}
	c.size += r.Size()
	c.parts = append(c.parts, r)
	c.ends = append(c.ends, c.size)
}

// ReadAt implements io.ReaderAt.
func (c *composite) ReadAt(p []byte, at int64) (int, error) {
	n := 0
	for n < len(p) {
		i := sort.Search(len(c.ends), func(i int) bool { return c.ends[i] > at })
		if i == len(c.parts) {
			return n, io.EOF
		}
		from := at - (c.ends[i] - c.parts[i].Size())
		want := int(min(int64(len(p)-n), c.ends[i]-at))
		got, err := c.parts[i].ReadAt(p[n:n+want], from)
		n += got
		at += int64(got)
		if got < want {
			if err == nil || err == io.EOF { // the file shrank
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}
