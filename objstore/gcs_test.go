package objstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/varvelog/varve/objstore"
)

// badGCS is a bucket on a server that lists nothing and answers every other request with answer.
func badGCS(t *testing.T, answer http.HandlerFunc) objstore.Bucket {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/storage/v1/b/bucket/o" {
			fmt.Fprint(w, "{}")
			return
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	t.Setenv("STORAGE_EMULATOR_HOST", server.URL)
	b := open(t, "gs://bucket")
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func failGCS(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error": {"code": %d, "message": "told\nso"}}`, status)
	}
}

func TestGCSErrorsAreTold(t *testing.T) {
	for status, want := range map[int]error{
		404: objstore.ErrNotFound, 412: objstore.ErrExists, 400: nil, 401: nil, 403: nil,
		408: objstore.ErrUnavailable, 429: objstore.ErrUnavailable, 500: objstore.ErrUnavailable, 503: objstore.ErrUnavailable,
		501: nil,
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			b := badGCS(t, failGCS(status))
			_, err := b.GetRange(t.Context(), "k", 0, make([]byte, 10))
			if err == nil {
				t.Fatal("no error")
			}
			if status != 404 && !strings.Contains(err.Error(), "told so") {
				t.Errorf("%v: without the server's message in one line", err)
			}
			for _, sentinel := range []error{objstore.ErrNotFound, objstore.ErrNoBucket, objstore.ErrUnavailable, objstore.ErrExists} {
				if is := errors.Is(err, sentinel); is != errors.Is(want, sentinel) {
					t.Errorf("%v: is %v: %t", err, sentinel, is)
				}
			}
		})
	}
}

// As for S3: a conditional request that is repeated would report its own success as a conflict.
func TestGCSAsksOnce(t *testing.T) {
	var asked atomic.Int64
	b := badGCS(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		failGCS(503)(w, r)
	})
	err := b.Put(t.Context(), "k", strings.NewReader("x"), objstore.PutOptions{IfAbsent: true})
	if !errors.Is(err, objstore.ErrUnavailable) || asked.Load() != 1 {
		t.Errorf("%d requests: %v", asked.Load(), err)
	}
}

// laterFailure is a body that can be read once, for its checksum, and then fails.
type laterFailure struct {
	*bytes.Reader
	read bool
}

var errLater = errors.New("the disk fails")

func (l *laterFailure) Read(p []byte) (int, error) {
	if l.read && int64(l.Len()) <= l.Size()/2 {
		return 0, errLater
	}
	n, err := l.Reader.Read(p)
	l.read = l.read || errors.Is(err, io.EOF)
	return n, err
}

// An upload that breaks off must not look complete: a server that does not check the checksum would
// keep half of it.
func TestGCSUploadThatFailsIsNotEnded(t *testing.T) {
	received := make(chan error, 1)
	b := badGCS(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = fmt.Errorf("%d bytes, in order to the end", len(body))
			received <- err
		} else {
			received <- nil
		}
		failGCS(500)(w, r)
	})
	for range 5 {
		err := b.Put(t.Context(), "k", &laterFailure{Reader: bytes.NewReader(make([]byte, 200<<10))}, objstore.PutOptions{})
		if !errors.Is(err, errLater) || errors.Is(err, objstore.ErrUnavailable) {
			t.Errorf("Put: %v", err)
		}
		if err = <-received; err != nil {
			t.Errorf("the server has received %v", err)
		}
	}
}

// Google's client would continue to read over new connections, again and again without a pause.
func TestGCSReadsOnce(t *testing.T) {
	var asked atomic.Int64
	b := badGCS(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		breakOff(t, w, "HTTP/1.1 206 Partial Content\r\nContent-Length: 100\r\nContent-Range: bytes 0-99/100\r\n\r\nhello")
	})
	_, err := b.GetRange(t.Context(), "k", 0, make([]byte, 100))
	if !errors.Is(err, objstore.ErrUnavailable) || errors.Is(err, io.ErrUnexpectedEOF) || asked.Load() != 1 {
		t.Errorf("%d requests: %v", asked.Load(), err)
	}
}

func TestGCSOfABucketThatIsNotThere(t *testing.T) {
	server := httptest.NewServer(failGCS(404))
	t.Cleanup(server.Close)
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(server.URL, "http://"))
	if err := openAndCheck(t, "gs://missing"); !errors.Is(err, objstore.ErrNoBucket) || !strings.Contains(err.Error(), "create it") {
		t.Errorf("got %v", err)
	}
}
