// Package bucketadmin creates buckets on S3-compatible servers, for the test harness and for
// setting up a local server. The broker never does that: it expects its bucket to exist.
package bucketadmin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Server is an S3-compatible server and the keys of an account on it.
type Server struct {
	Endpoint  string // http://HOST:PORT or https://HOST[:PORT]
	Region    string
	AccessKey string
	SecretKey string
}

// EnsureBucket creates the bucket unless it exists.
func (s Server) EnsureBucket(ctx context.Context, bucket string) error {
	endpoint, err := url.Parse(s.Endpoint)
	if err != nil || endpoint.Host == "" {
		return fmt.Errorf("make bucket %s: the endpoint %q must be http://HOST:PORT or https://HOST[:PORT]", bucket, s.Endpoint)
	}
	transport, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return errors.New("make a transport: the default one was replaced")
	}
	transport = transport.Clone()
	defer transport.CloseIdleConnections()
	client, err := minio.New(endpoint.Host, &minio.Options{
		Creds:     credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""),
		Secure:    endpoint.Scheme == "https",
		Region:    s.Region,
		Transport: transport,
	})
	if err != nil {
		return fmt.Errorf("make a client for %s: %w", s.Endpoint, err)
	}
	exists, err := client.BucketExists(ctx, bucket)
	if err != nil {
		return fmt.Errorf("look for bucket %s at %s: %w", bucket, s.Endpoint, err)
	}
	if exists {
		return nil
	}
	err = client.MakeBucket(ctx, bucket, minio.MakeBucketOptions{Region: s.Region})
	if code := minio.ToErrorResponse(err).Code; code == minio.BucketAlreadyOwnedByYou || code == minio.BucketAlreadyExists {
		return nil // another process was faster
	}
	if err != nil {
		return fmt.Errorf("make bucket %s at %s: %w", bucket, s.Endpoint, err)
	}
	return nil
}
