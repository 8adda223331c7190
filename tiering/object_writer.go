package tiering

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"sort"

	"github.com/varvelog/varve/storage"
	"github.com/varvelog/varve/tiering/format"
)

// object is a segment object that is ready for upload: the local files, which are not held in
// memory, and the small parts that are built for it. The files must stay open and unchanged
// while it is used.
type object struct {
	description *format.Description
	parts       composite
	hot         []byte // the end of the object, from the description on
	ownBytes    int64  // as in format.Segment
}

// newObject reads the files once, to compute checksums and to see what is in the log. It
// fills in the members of the description that depend on them. A file that is shorter than it
// claims is an error.
func newObject(d format.Description, files storage.SegmentFiles) (*object, error) {
	o := &object{description: &d}
	if err := o.build(files); err != nil {
		return nil, fmt.Errorf("build segment object at offset %d: %w", d.BaseOffset, err)
	}
	return o, nil
}

func (o *object) build(files storage.SegmentFiles) error {
	d := o.description
	log, err := scanLog(files.Log, d.StartOffset, int(d.ChunkBytes))
	if err != nil {
		return err
	}
	d.LogBytes, d.MinTimestamp, d.MaxTimestamp = files.Log.Size(), log.minTimestamp, log.maxTimestamp
	d.Records, d.Batches, d.Aborted = log.records, log.batches, files.AbortedTxns
	o.ownBytes = log.ownBytes
	o.parts.add(files.Log)
	layout := format.NewLayout(d.LogBytes)
	for _, cold := range []struct {
		kind    format.PartType
		content *io.SectionReader
	}{
		{format.PartSnapshot, files.Snapshot},
		{format.PartEpochs, section(format.AppendEpochs(nil, epochsOf(files.LeaderEpochs)))},
		{format.PartTxnIndex, files.TxnIndex},
		{format.PartTimeIndex, files.TimeIndex},
		{format.PartOffsetIndex, files.Index},
	} {
		// An empty snapshot says that there are no producers; an absent one says nothing.
		if cold.content == nil || cold.content.Size() == 0 && cold.kind != format.PartSnapshot {
			continue
		}
		sum, sumErr := checksum(cold.content)
		if sumErr != nil {
			return fmt.Errorf("read %s: %w", cold.kind, sumErr)
		}
		layout.Add(cold.kind, 0, cold.content.Size(), sum)
		o.parts.add(cold.content)
	}
	description, err := d.Encode()
	if err != nil {
		return err
	}
	o.hot = description
	layout.Add(format.PartDescription, format.PartCritical, int64(len(description)), format.Checksum(description))
	directory := log.chunks.Append(nil)
	o.hot = append(o.hot, directory...)
	layout.Add(format.PartDirectory, format.PartCritical, int64(len(directory)), format.Checksum(directory))
	o.hot = append(o.hot, layout.End()...)
	o.parts.add(section(o.hot))
	return nil
}

// size returns the size of the whole object in bytes.
func (o *object) size() int64 { return o.parts.size }

// body returns a reader of the whole object. It may be called again for another attempt.
func (o *object) body() *io.SectionReader { return io.NewSectionReader(&o.parts, 0, o.parts.size) }

// entry returns the manifest's entry for the object. The epochs are those of its range.
func (o *object) entry(name string, epochs []format.Epoch) format.Segment {
	d := o.description
	return format.Segment{
		Name: name, BaseOffset: d.BaseOffset, StartOffset: d.StartOffset, EndOffset: d.EndOffset,
		MinTimestamp: d.MinTimestamp, MaxTimestamp: d.MaxTimestamp,
		Bytes: o.ownBytes, ObjectBytes: o.size(), HotBytes: int64(len(o.hot)), CRC32C: format.Checksum(o.hot),
		Records: d.Records, Batches: d.Batches, Aborted: d.Aborted,
		Epochs: epochs, UploadedMs: d.CreatedMs, UploaderEpoch: d.LeaderEpoch,
	}
}

// epochsOf converts leader epochs to the form in the remote tier.
func epochsOf(entries []storage.EpochEntry) []format.Epoch {
	out := make([]format.Epoch, len(entries))
	for i, e := range entries {
		out[i] = format.Epoch{int64(e.Epoch), e.StartOffset}
	}
	return out
}

// rangeEpochs cuts a history of leader epochs down to a range of offsets: the epoch at its start
// and those that start within it.
func rangeEpochs(epochs []format.Epoch, start, end int64) []format.Epoch {
	var out []format.Epoch
	for _, e := range epochs {
		switch {
		case e.StartOffset() >= end:
		case e.StartOffset() <= start:
			out = append(out[:0], format.Epoch{e[0], start})
		default:
			out = append(out, e)
		}
	}
	return out
}

// checksum returns the CRC32C of all bytes that r claims to have.
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

// composite presents several readers, one after the other, as one io.ReaderAt.
type composite struct {
	parts []*io.SectionReader
	ends  []int64 // end position of each part
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
			if err == nil || err == io.EOF { // the file has shrunk
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}
