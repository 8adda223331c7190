package objstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
)

const (
	// gcsEmulator is the variable that names a local server, HOST:PORT or a URL, which is then used without credentials. Google's own
	// libraries know it too.
	gcsEmulator = "STORAGE_EMULATOR_HOST"
	gcsEndpoint = "https://storage.googleapis.com"
	gcsScope    = "https://www.googleapis.com/auth/devstorage.read_write"
)

func openGCS(ctx context.Context, u *url.URL) (*blobBucket, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = idleConnections, idleConnections
	s := gcsStore{client: &http.Client{Transport: transport}, endpoint: gcsEndpoint, bucket: u.Host}
	if emulator := os.Getenv(gcsEmulator); emulator != "" {
		s.endpoint = strings.TrimSuffix(emulator, "/")
		if !strings.Contains(emulator, "://") {
			s.endpoint = "http://" + s.endpoint
		}
	} else {
		// The context of the credentials outlives this call: they are renewed.
		credentials, err := google.FindDefaultCredentials(context.WithoutCancel(ctx), gcsScope)
		if err != nil {
			return nil, errors.New("no Google credentials found: set GOOGLE_APPLICATION_CREDENTIALS to a key file, or give the machine a service account")
		}
		s.client.Transport = &oauth2.Transport{Source: credentials.TokenSource, Base: transport}
	}
	return &blobBucket{
		put: s.put, open: s.open, stat: s.stat, list: s.list, remove: s.remove, exists: s.exists,
		release: func() error { transport.CloseIdleConnections(); return nil },
	}, nil
}

// exists asks for one object, which takes no other right than listing does.
func (s gcsStore) exists(ctx context.Context) error {
	_, err := s.listPage(ctx, "", "", 1)
	switch status := httpStatus(err); {
	case err == nil:
		return nil
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return fmt.Errorf("access to bucket %s is denied: check the credentials and that they may list the bucket", s.bucket)
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: bucket %s does not exist: create it, or correct the object store's URL", ErrNoBucket, s.bucket)
	case errors.Is(classify(err), ErrUnavailable):
		return fmt.Errorf("%w: no usable answer from bucket %s: %s", ErrUnavailable, s.bucket, oneLine(err))
	default:
		return fmt.Errorf("check bucket %s: %w", s.bucket, err)
	}
}
