package objstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"gocloud.dev/blob/s3blob"
)

const (
	dialTimeout = 5 * time.Second
	// idleConnections is the number of connections that are kept for later requests. Opening one
	// costs more than a GET of a small range.
	idleConnections = 128
	// maxS3Put is the largest object, in bytes, that S3 accepts in one PutObject.
	maxS3Put = 5 << 30
	// maxS3Deletes is the largest number of keys that S3 accepts in one DeleteObjects.
	maxS3Deletes = 1000
)

// s3Store implements the operations of an S3 bucket for which s3blob is not good enough.
type s3Store struct {
	client      *s3.Client
	credentials aws.CredentialsProvider
	bucket      string
	where       string // for messages: the endpoint or region
	options     s3Options
	oneByOne    atomic.Bool // set once the server has rejected a DeleteObjects
}

func openS3(ctx context.Context, u *url.URL) (*blobBucket, error) {
	o, err := parseS3Options(u.Query())
	if err != nil {
		return nil, err
	}
	cfg, err := o.load(ctx)
	if err != nil {
		return nil, err
	}
	s := &s3Store{bucket: u.Host, where: "in region " + cfg.Region, credentials: cfg.Credentials, options: o}
	httpClient := cfg.HTTPClient
	s.client = s3.NewFromConfig(cfg, func(c *s3.Options) {
		if o.endpoint != "" {
			c.BaseEndpoint = &o.endpoint
		}
		if c.BaseEndpoint != nil { // the environment and profiles may set one too
			s.where = "at " + *c.BaseEndpoint
		}
		c.UsePathStyle = o.pathStyle
		// The Retry decorator retries. The SDK would repeat a conditional PUT whose answer was
		// lost, and report its own success as a conflict.
		c.Retryer = aws.NopRetryer{}
		c.RequestChecksumCalculation = o.checksums(c.RequestChecksumCalculation, c.BaseEndpoint)
		// A range has no checksum to validate, and the SDK would log that for each request.
		c.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		c.DisableLogOutputChecksumValidationSkipped = true
		c.Logger = logging.Nop{}
	})
	blobs, err := s3blob.OpenBucket(ctx, s.client, s.bucket, nil)
	if err != nil {
		return nil, err
	}
	b := overBlobs(blobs)
	b.readsTwice = true
	b.lookFirst(s.put)
	b.exists, b.remove, b.removeAll = s.exists, s.remove, s.removeAll
	if s.client.Options().RequestChecksumCalculation == aws.RequestChecksumCalculationWhenSupported {
		b.remedy = "; a server that does not know the SDK's checksums needs checksum=when_required there"
	}
	b.release = func() error {
		err := blobs.Close()
		if c, ok := httpClient.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
		return err
	}
	return b, nil
}

// put is one PutObject. The SDK reads the body twice (for the checksum or signature, then for the
// transfer) and keeps none of it in memory.
func (s *s3Store) put(ctx context.Context, key string, body *body, ifAbsent bool) error {
	if body.size > maxS3Put {
		return fmt.Errorf("an object of %d bytes: S3 takes %d in one request", body.size, int64(maxS3Put))
	}
	in := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, Body: body,
		ContentLength: &body.size, ContentType: aws.String(contentType),
		ServerSideEncryption: s.options.sse, StorageClass: s.options.storageClass,
	}
	if s.options.kmsKey != "" {
		in.SSEKMSKeyId = &s.options.kmsKey
	}
	if ifAbsent {
		in.IfNoneMatch = aws.String("*")
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { body.send() }})
	_, err := s.client.PutObject(ctx, in)
	return err
}

// remove is one DeleteObject. S3 reports success whether the object exists or not. s3blob would
// look first.
func (s *s3Store) remove(ctx context.Context, key string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key})
	return err
}

// removeAll is one DeleteObjects per thousand keys. If the server does not implement it, or needs
// another checksum than the SDK's, all later deletions are one request per key.
func (s *s3Store) removeAll(ctx context.Context, keys []string) map[string]error {
	failed := map[string]error{}
	for batch := range slices.Chunk(keys, maxS3Deletes) {
		if !s.oneByOne.Load() && s.removeBatch(ctx, batch, failed) {
			continue
		}
		left := removeEach(s.remove)(ctx, batch)
		// Some single deletions succeeded, so the server rejects DeleteObjects, not the
		// credentials.
		if len(left) < len(batch) {
			s.oneByOne.Store(true)
		}
		maps.Copy(failed, left)
	}
	return failed
}

// removeBatch adds the errors to failed. It returns false if the server does not accept the
// request.
func (s *s3Store) removeBatch(ctx context.Context, keys []string, failed map[string]error) bool {
	objects := make([]types.ObjectIdentifier, len(keys))
	for i := range keys {
		objects[i].Key = &keys[i]
	}
	out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &s.bucket, Delete: &types.Delete{Objects: objects, Quiet: aws.Bool(true)},
	})
	switch status, _ := answer(err); {
	case err == nil:
	case classify(err) == nil && (status == http.StatusBadRequest || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented):
		return false
	default:
		for _, key := range keys {
			failed[key] = err
		}
		return true
	}
	for _, e := range out.Errors {
		failed[aws.ToString(e.Key)] = &smithy.GenericAPIError{Code: aws.ToString(e.Code), Message: aws.ToString(e.Message)}
	}
	return true
}

func (s *s3Store) exists(ctx context.Context) error {
	if _, err := s.credentials.Retrieve(ctx); err != nil {
		return s.explainCredentials(err)
	}
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket})
	if status, _ := answer(err); status == http.StatusMovedPermanently || status == http.StatusBadRequest {
		return fmt.Errorf("bucket %s is not %s: correct region=… in the object store's URL", s.bucket, s.where)
	}
	return explain(err, "bucket "+s.bucket, s.where)
}

// explainCredentials distinguishes missing credentials from a temporary failure to obtain them. If
// nothing is configured, the SDK finally asks the metadata service of an instance. If that is
// unreachable, the machine is not an instance and has no credentials.
func (s *s3Store) explainCredentials(err error) error {
	operation, ok := errors.AsType[*smithy.OperationError](err)
	status, _ := answer(err)
	instance := ok && operation.ServiceID == imds.ServiceID && status < http.StatusInternalServerError
	if !instance && errors.Is(classify(err), ErrUnavailable) {
		return fmt.Errorf("%w: no usable answer from the service that gives out the AWS credentials: %s", ErrUnavailable, briefError{err}.Error())
	}
	return errors.New("no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or an instance role")
}
