package objstore_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/varvelog/varve/objstore"
)

// badGCS is a bucket whose server lists nothing and answers all else as told.
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
		200: objstore.ErrUnavailable, // to a range: the server has not heard the header
	} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			b := badGCS(t, failGCS(status))
			_, err := b.GetRange(t.Context(), "k", 0, make([]byte, 10))
			if err == nil {
				t.Fatal("no error")
			}
			if status != 200 && status != 404 && !strings.Contains(err.Error(), "told so") {
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

// As for S3: a conditional request that is repeated reports its own success as a conflict.
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

func TestGCSOfABucketThatIsNotThere(t *testing.T) {
	server := httptest.NewServer(failGCS(404))
	t.Cleanup(server.Close)
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(server.URL, "http://"))
	if _, err := objstore.Open(t.Context(), "gs://missing"); !errors.Is(err, objstore.ErrNoBucket) || !strings.Contains(err.Error(), "create it") {
		t.Errorf("got %v", err)
	}
}
