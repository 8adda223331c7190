package objstore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	"gocloud.dev/blob/gcsblob"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"
)

const (
	// gcsEmulator is the variable that names a local server, as HOST:PORT or a URL, which is used
	// without credentials. Google's client reads it too.
	gcsEmulator = "STORAGE_EMULATOR_HOST"
	gcsScope    = "https://www.googleapis.com/auth/devstorage.read_write"
)

func openGCS(ctx context.Context, u *url.URL) (*blobBucket, error) {
	transport := newTransport()
	client := &http.Client{Transport: gcsTransport{transport}}
	if os.Getenv(gcsEmulator) == "" {
		// The credentials are renewed after this call, so their context must not end with it.
		credentials, err := google.FindDefaultCredentials(context.WithoutCancel(ctx), gcsScope)
		if err != nil {
			return nil, errors.New("no Google credentials found: set GOOGLE_APPLICATION_CREDENTIALS to a key file, or give the machine a service account")
		}
		client.Transport = &oauth2.Transport{Source: credentials.TokenSource, Base: client.Transport}
	}
	google, err := storage.NewClient(ctx, option.WithHTTPClient(client), storage.WithJSONReads())
	if err != nil {
		return nil, fmt.Errorf("make a client of Google Cloud Storage: %w", err)
	}
	google.SetRetry(storage.WithPolicy(storage.RetryNever)) // the Retry decorator does that
	blobs, err := gcsblob.OpenBucket(ctx, nil, u.Host, &gcsblob.Options{Client: google})
	if err != nil {
		return nil, errors.Join(err, google.Close())
	}
	b := overBlobs(blobs)
	read := b.open
	b.open = func(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
		return read(withCall(ctx, &gcsCall{}), key, off, n)
	}
	b.lookFirst(func(ctx context.Context, key string, body *body, ifAbsent bool) error {
		return putGCS(ctx, blobs, key, body, ifAbsent)
	})
	b.exists = listOne(blobs, "bucket "+u.Host, "in Google Cloud Storage")
	b.release = func() error {
		err := errors.Join(blobs.Close(), google.Close())
		transport.CloseIdleConnections()
		return err
	}
	return b, nil
}

// newTransport returns a transport for the requests of one bucket.
func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	t.MaxIdleConns, t.MaxIdleConnsPerHost = idleConnections, idleConnections
	return t
}

// listOne is exists for stores without a better request that needs no other right than listing.
func listOne(blobs *blob.Bucket, bucket, where string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, _, err := blobs.ListPage(ctx, blob.FirstPageToken, 1, nil)
		return explain(err, bucket, where)
	}
}

// putGCS uploads in one request, streamed and without a buffer. It reads the body twice: for the
// CRC32C, which is sent ahead and which the server checks, and for the transfer.
func putGCS(ctx context.Context, blobs *blob.Bucket, key string, body *body, ifAbsent bool) error {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.Copy(sum, &contextReader{err: ctx.Err, r: body}); err != nil {
		return fmt.Errorf("read the body for its checksum: %w", err)
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("go back to the start of the body: %w", err)
	}
	return blobs.Upload(withCall(ctx, &gcsCall{upload: body}), key, body, &blob.WriterOptions{
		ContentType: contentType, IfNotExist: ifAbsent,
		BeforeWrite: func(as func(any) bool) error {
			var w *storage.Writer
			if !as(&w) {
				return errors.New("gocloud.dev no longer has a writer of Google's client")
			}
			w.ChunkSize = 0 // one request; several would be repeated
			w.SendCRC32C, w.CRC32C = true, sum.Sum32()
			return nil
		},
	})
}
