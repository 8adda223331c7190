package objstore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/gcerrors"
	"gocloud.dev/gcp"
)

// emulatorVariable makes the library talk to a local server, without
// credentials.
const emulatorVariable = "STORAGE_EMULATOR_HOST"

func openGCS(ctx context.Context, u *url.URL) (*blobBucket, error) {
	transport := gcp.DefaultTransport()
	client := gcp.NewAnonymousHTTPClient(transport)
	if os.Getenv(emulatorVariable) == "" {
		// The context of the credentials outlives this call.
		credentials, err := gcp.DefaultCredentials(context.WithoutCancel(ctx))
		if err != nil {
			return nil, errors.New("no Google credentials found: set GOOGLE_APPLICATION_CREDENTIALS to a key file, or give the machine a service account")
		}
		if client, err = gcp.NewHTTPClient(transport, gcp.CredentialsTokenSource(credentials)); err != nil {
			return nil, fmt.Errorf("make a client: %w", err)
		}
	}
	blobs, err := gcsblob.OpenBucket(context.WithoutCancel(ctx), client, u.Host, nil)
	if err != nil {
		return nil, err
	}
	b := &blobBucket{blobs: blobs, release: client.CloseIdleConnections}
	b.put = b.upload(onlyOnce)
	b.list = b.listPages
	b.exists = func(ctx context.Context) error { return gcsExists(ctx, b, u.Host) }
	return b, nil
}

// onlyOnce turns off the library's own retries of an upload: it would repeat a
// conditional one whose answer was lost and report its own success as a
// conflict.
func onlyOnce(as func(any) bool) error {
	var object **storage.ObjectHandle
	if !as(&object) {
		return errors.New("the driver shows no object handle")
	}
	*object = (*object).Retryer(storage.WithPolicy(storage.RetryNever))
	return nil
}

func gcsExists(ctx context.Context, b *blobBucket, name string) error {
	_, _, err := b.blobs.ListPage(ctx, blob.FirstPageToken, 1, nil)
	switch status := httpStatus(err); {
	case err == nil:
		return nil
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return fmt.Errorf("access to bucket %s is denied: check the credentials and that they may list the bucket", name)
	case gcerrors.Code(err) == gcerrors.NotFound:
		return fmt.Errorf("%w: bucket %s does not exist: create it, or correct the object store's URL", ErrNoBucket, name)
	case errors.Is(classify(err), ErrUnavailable):
		return fmt.Errorf("%w: no usable answer from bucket %s: %s", ErrUnavailable, name, oneLine(err))
	default:
		return fmt.Errorf("check bucket %s: %w", name, err)
	}
}
