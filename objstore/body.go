package objstore

import (
	"errors"
	"fmt"
	"io"
	"sync"
)

var errSealed = errors.New("read of a request body whose request is over")

// pacedRead is how much of a paced body is sent between two pauses.
const pacedRead = 64 << 10

// body is what a Put sends. An HTTP transport may go on reading a request's
// body for a while after the request has failed; sealing the body ends that, so
// that the caller may use the bytes, or start another attempt with them.
type body struct {
	start, size int64
	pace        func(n int) error // of what is sent; nil: it is not paced
	mu          struct {
		sync.Mutex
		r       io.ReadSeeker
		sealed  bool
		sending bool  // what is read is sent; before that a driver may read all of it for a checksum
		failed  error // the first failure of r
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

// Read reads on, until the body is sealed.
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

// failure is why the body could not be read, nil if it could as far as anybody
// has.
func (b *body) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.failed
}

// Seek moves within the body; its start is at 0.
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

// send says that what is read from now on is sent.
func (b *body) send() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.sending = true
}

// seal waits for a read that is under way and refuses all further ones.
func (b *body) seal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.sealed = true
}
