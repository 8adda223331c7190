package broker

import (
	"fmt"
	"io"
	"sync"

	"github.com/varvelog/varve/replication"
	"github.com/varvelog/varve/storage"
)

const (
	// inlineBatches is up to what size batches from a file are copied into the response's own
	// buffer, so that many small partitions are sent in one system call.
	inlineBatches = 16 << 10
	// inlineTotal bounds that buffer. Batches that do not fit are streamed.
	inlineTotal = 256 << 10
	// streamChunk is how much of a file is in memory at a time while it is sent.
	streamChunk = 128 << 10
)

// batches are the records of one partition in a fetch response.
type batches struct{ replication.Records }

func (r *batches) layOut(w *responseWriter) error {
	if parts, ok := r.Parts(); ok {
		for _, b := range parts {
			w.Bytes(b)
		}
		return nil
	}
	if r.Len() <= inlineBatches && len(w.buf)+r.Len() <= inlineTotal {
		var err error
		w.buf, err = r.AppendTo(w.buf)
		return err
	}
	slice, _ := r.Slice()
	w.Stream(fileRange{slice}, int64(slice.Len()))
	return nil
}

// fileRange sends a slice of a log file: with sendfile where the connection and the file allow it,
// otherwise (TLS, a test's pipe) through a buffer. docs/benchmarks.md has the figures for this
// choice.
type fileRange struct{ storage.Slice }

// WriteTo writes the slice's bytes to w.
func (r fileRange) WriteTo(w io.Writer) (int64, error) {
	file := r.File()
	if file == nil {
		return 0, fmt.Errorf("send batches at offset %d: %w", r.BaseOffset(), storage.ErrLogClosed)
	}
	n, handled, err := sendfile(w, storage.OSFile(file), r.Pos(), int64(r.Len()))
	if !handled {
		return r.copyTo(w, file)
	}
	if err != nil {
		err = fmt.Errorf("send batches at offset %d: %w", r.BaseOffset(), err)
	}
	return n, err
}

// copyTo is WriteTo without sendfile.
func (r fileRange) copyTo(w io.Writer, file io.ReaderAt) (int64, error) {
	chunk := streamChunks.Get().(*[streamChunk]byte)
	defer streamChunks.Put(chunk)
	total := int64(r.Len())
	for sent := int64(0); sent < total; {
		b := chunk[:min(total-sent, streamChunk)]
		if _, err := file.ReadAt(b, r.Pos()+sent); err != nil {
			return sent, fmt.Errorf("read batches at offset %d: %w", r.BaseOffset(), err)
		}
		n, err := w.Write(b)
		sent += int64(n)
		if err != nil {
			return sent, err
		}
	}
	return total, nil
}

var streamChunks = sync.Pool{New: func() any { return new([streamChunk]byte) }}
