package objstore

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
	"gocloud.dev/blob/s3blob"
)

const (
	dialTimeout = 5 * time.Second
	// idleConnections is how many connections are kept for the next requests;
	// opening one costs more than a small range GET.
	idleConnections = 64
	// checkFirstBytes is the size from which a conditional PUT looks first. A
	// server refuses it before it has read a body of that size, so that the
	// upload is for nothing and, as often as not, ends in a broken connection
	// instead of the server's answer.
	checkFirstBytes = 256 << 10
)

// s3Store is the part of an S3 bucket that s3blob does not do well enough.
type s3Store struct {
	client *s3.Client
	bucket string
	where  string // of messages: the endpoint or region
}

func openS3(ctx context.Context, u *url.URL) (*blobBucket, error) {
	query := u.Query()
	options := []func(*awsconfig.LoadOptions) error{
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient().
			WithDialerOptions(func(d *net.Dialer) { d.Timeout = dialTimeout }).
			WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost, t.MaxIdleConns = idleConnections, idleConnections })),
	}
	if region := query.Get("region"); region != "" {
		options = append(options, awsconfig.WithRegion(region))
	}
	if profile := query.Get("profile"); profile != "" {
		options = append(options, awsconfig.WithSharedConfigProfile(profile))
	}
	if file := query.Get("ca_file"); file != "" {
		authorities, err := readAuthorities(file)
		if err != nil {
			return nil, err
		}
		options = append(options, awsconfig.WithCustomCABundle(authorities))
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	s := s3Store{bucket: u.Host, where: "in region " + cfg.Region}
	endpoint := query.Get("endpoint")
	if endpoint != "" {
		e, parseErr := url.Parse(endpoint)
		if parseErr != nil || e.Host == "" || e.Scheme != "http" && e.Scheme != "https" || e.User != nil {
			return nil, errors.New("endpoint must be http://HOST:PORT or https://HOST[:PORT]")
		}
		s.where = "at " + endpoint
	}
	switch {
	case cfg.Region != "":
	case endpoint != "":
		cfg.Region = "us-east-1" // what servers other than AWS take for granted
	default:
		return nil, errors.New("the region is missing: add region=… to the URL or set AWS_REGION")
	}
	pathStyle := false
	if raw := query.Get("path_style"); raw != "" {
		if pathStyle, err = strconv.ParseBool(raw); err != nil {
			return nil, errors.New("path_style must be true or false")
		}
	}
	if _, err = cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, errors.New("no AWS credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or an instance role")
	}
	client := cfg.HTTPClient
	if buildable, ok := client.(*awshttp.BuildableClient); ok {
		client = buildable.Freeze()
	}
	s.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
		}
		o.UsePathStyle = pathStyle
		o.HTTPClient = client
		// Retries are the Retry decorator's: the SDK would repeat a conditional
		// PUT whose answer was lost and report its own success as a conflict.
		o.Retryer = aws.NopRetryer{}
		// A range has no checksum to validate, and the SDK logs that each time.
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		o.DisableLogOutputChecksumValidationSkipped = true
		o.Logger = logging.Nop{}
	})
	blobs, err := s3blob.OpenBucket(ctx, s.client, s.bucket, nil)
	if err != nil {
		return nil, err
	}
	b := overBlobs(blobs)
	b.put, b.exists = s.put, s.exists
	b.release = func() error {
		err := blobs.Close()
		if c, ok := client.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
		return err
	}
	return b, nil
}

// readAuthorities reads a file with authorities; the SDK's errors would not name
// it.
func readAuthorities(file string) (io.Reader, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca_file: %s holds no certificate in PEM", file)
	}
	return bytes.NewReader(text), nil
}

// put is one PutObject. The SDK reads the body twice (checksum, then
// transmission) and keeps nothing of it in memory.
func (s s3Store) put(ctx context.Context, key string, body *body, ifAbsent bool) error {
	if ifAbsent && body.size > checkFirstBytes {
		if _, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.bucket, Key: &key}); err == nil {
			return ErrExists
		} else if httpStatus(err) != http.StatusNotFound {
			return err
		}
	}
	in := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, Body: body,
		ContentLength: &body.size, ContentType: aws.String(contentType),
	}
	if ifAbsent {
		in.IfNoneMatch = aws.String("*")
	}
	_, err := s.client.PutObject(ctx, in)
	return err
}

func (s s3Store) exists(ctx context.Context) error {
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket})
	if err == nil {
		return nil
	}
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		return fmt.Errorf("the server of bucket %s %s has a certificate signed by unknown authority: name the authority with ca_file=FILE in the object store's URL", s.bucket, s.where)
	}
	switch status := httpStatus(err); {
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: bucket %s does not exist %s: create it, or correct the object store's URL", ErrNoBucket, s.bucket, s.where)
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return fmt.Errorf("access to bucket %s %s is denied: check the credentials and that they may list the bucket", s.bucket, s.where)
	case status == http.StatusMovedPermanently || status == http.StatusBadRequest:
		return fmt.Errorf("bucket %s is not %s: correct region=… in the object store's URL", s.bucket, s.where)
	case errors.Is(classify(err), ErrUnavailable):
		return fmt.Errorf("%w: no usable answer from bucket %s %s: check the URL and that the server runs: %s", ErrUnavailable, s.bucket, s.where, oneLine(err))
	default:
		return fmt.Errorf("check bucket %s %s: %w", s.bucket, s.where, err)
	}
}

// oneLine is the innermost error, which in the SDK's stacks is the one with the
// news.
func oneLine(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return strings.ReplaceAll(err.Error(), "\n", " ")
		}
		err = inner
	}
}
