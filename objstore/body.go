package objstore

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

var errSealed = errors.New("read of a request body whose request is over")

// pacedRead is the number of bytes of a paced body between two calls of pace.
const pacedRead = 64 << 10

// body is the data that a Put sends. An HTTP transport may continue to read the body of a request
// for a while after the request has failed. Sealing the body ends that: afterward the caller may
// reuse the bytes, or start another attempt with them.
type body struct {
	start, size int64
	pace        func(n int) error // called for bytes to be sent; nil: no pacing
	mu          struct {
		sync.Mutex
		r      io.ReadSeeker
		sealed bool
		// sending is set once reads are transmitted. Before that a driver may read all of the body
		// for a checksum.
		sending bool
		failed  error // the first read error of r
	}
}

func newBody(r io.ReadSeeker) (*body, error) {
	start, err := r.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, fmt.Errorf("find the start of the body: %w", err)
	}
	end, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, fmt.Errorf("find the end of the body: %w", err)
	}
	if _, err = r.Seek(start, io.SeekStart); err != nil {
		return nil, fmt.Errorf("go back to the start of the body: %w", err)
	}
	b := &body{start: start, size: end - start}
	b.mu.r = r
	return b, nil
}

// Read returns the next bytes, or errSealed after seal.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.sealed {
		return 0, errSealed
	}
	if b.pace != nil && len(p) > pacedRead {
		p = p[:pacedRead]
	}
	n, err := b.mu.r.Read(p)
	if b.pace != nil && b.mu.sending && n > 0 {
		if paceErr := b.pace(n); paceErr != nil {
			return 0, paceErr
		}
	}
	if err != nil && !errors.Is(err, io.EOF) && b.mu.failed == nil {
		b.mu.failed = err
	}
	return n, err
}

// failure returns the first error of reading the body, or nil if there was none so far.
func (b *body) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.failed
}

// Seek moves within the body, whose start is offset 0.
func (b *body) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.sealed {
		return 0, errSealed
	}
	if whence == io.SeekStart {
		offset += b.start
	}
	at, err := b.mu.r.Seek(offset, whence)
	return at - b.start, err
}

// send marks all later reads as transmitted, so that they are paced.
func (b *body) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.sending = true
}

// seal waits for a read in progress and makes all later ones fail.
func (b *body) seal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.sealed = true
}
