package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
)

// Open opens a bucket by URL:
//
//	file:///DIR                 DIR is created if its parent exists
//	s3://BUCKET?region=R        on AWS
//	s3://BUCKET?endpoint=http://HOST:PORT&region=R&path_style=true    on another server
//	gs://BUCKET                 on Google Cloud Storage
//	azblob://CONTAINER          on Azure, in the account of AZURE_STORAGE_ACCOUNT
//	mem://                      empty, and discarded when closed; for tests
//
// All of them take prefix=P, which is prepended to every key. s3 also takes:
//
//	profile=P                a profile of the AWS configuration
//	ca_file=FILE             authorities (PEM) that verify the server, in place of the system's
//	                         or AWS_CA_BUNDLE's
//	checksum=when_supported  or when_required: when the SDK adds its checksums; the default is
//	                         when_required for an endpoint that is not AWS's
//	sse=AES256               or aws:kms: how the server encrypts objects
//	kms_key=ID               the key of sse=aws:kms
//	storage_class=C          of objects
//
// The URL never contains credentials. s3 takes them from the AWS environment variables, profiles
// and instance roles; gs from the Application Default Credentials; azblob from the AZURE_STORAGE
// variables or an identity.
//
// Open sends no request, so an unreachable store does not make it fail: see Check. Its errors are
// permanent. They fit in one line and say what to do.
func Open(ctx context.Context, rawURL string) (Bucket, error) {
	u, prefix, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	var b *blobBucket
	switch u.Scheme {
	case "file":
		b, err = openFile(u)
	case "mem":
		b = openMem()
	case "s3":
		b, err = openS3(ctx, u)
	case "azblob":
		b, err = openAzure(ctx, u)
	default:
		b, err = openGCS(ctx, u)
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", u.Redacted(), err)
	}
	b.url, b.prefix = u.Redacted(), prefix
	return b, nil
}

// CheckURL returns an error if a bucket's URL is wrong. It sends no request.
func CheckURL(rawURL string) error {
	u, _, err := parse(rawURL)
	if err == nil && u.Scheme == "s3" {
		if _, err = parseS3Options(u.Query()); err != nil {
			err = fmt.Errorf("open bucket %s: %w", u.Redacted(), err)
		}
	}
	return err
}

// parse parses a bucket's URL. A prefix that is not empty ends in a slash.
func parse(rawURL string) (u *url.URL, prefix string, err error) {
	if u, err = parseURL(rawURL); err != nil {
		return nil, "", err
	}
	prefix = strings.Trim(u.Query().Get("prefix"), "/")
	if prefix == "" {
		return u, "", nil
	}
	if err = checkKey(prefix); err != nil {
		return nil, "", fmt.Errorf("open bucket %s: prefix: %w", u.Redacted(), err)
	}
	return u, prefix + "/", nil
}

// parameters lists the query parameters of each scheme.
var parameters = map[string][]string{
	"azblob": {"prefix"},
	"file":   {"prefix"},
	"gs":     {"prefix"},
	"mem":    {"prefix"},
	"s3":     {"ca_file", "checksum", "endpoint", "kms_key", "path_style", "prefix", "profile", "region", "sse", "storage_class"},
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The error of net/url quotes the URL, which may contain a password.
		return nil, errors.New("open bucket: the URL is malformed; it must look like file:///var/lib/varve/objects or s3://bucket?region=eu-central-1")
	}
	allowed, known := parameters[u.Scheme]
	switch {
	case !known:
		return nil, fmt.Errorf("open bucket %s: unknown scheme %q: use file, s3, gs, azblob or mem", u.Redacted(), u.Scheme)
	case u.User != nil:
		return nil, fmt.Errorf("open bucket %s: credentials do not belong in the URL: set them in the environment, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3", u.Redacted())
	case u.Scheme != "file" && strings.Trim(u.Path, "/") != "":
		return nil, fmt.Errorf("open bucket %s: a path after the bucket is not supported: use ?prefix=%s/", u.Redacted(), strings.Trim(u.Path, "/"))
	case (u.Scheme == "s3" || u.Scheme == "gs" || u.Scheme == "azblob") && u.Host == "":
		return nil, fmt.Errorf("open bucket %s: the bucket's name is missing: use %s://BUCKET", u.Redacted(), u.Scheme)
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("open bucket: the URL's parameters are malformed; values with special characters must be percent-encoded")
	}
	for name, values := range query {
		if !slices.Contains(allowed, name) {
			// The value is not shown: it may be a misplaced secret.
			u.RawQuery = ""
			return nil, fmt.Errorf("open bucket %s: unknown parameter %q: %s takes %s", u.Redacted(), name, u.Scheme, strings.Join(allowed, ", "))
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("open bucket %s: parameter %q is there twice", u.Redacted(), name)
		}
	}
	return u, nil
}

func openMem() *blobBucket {
	blobs := memblob.OpenBucket(&memblob.Options{NoMD5: true})
	b := overBlobs(blobs)
	b.put = func(ctx context.Context, key string, body *body, ifAbsent bool) error {
		// If the reader fails, the driver stores the bytes it has, unless its context is canceled
		// first.
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		err := blobs.Upload(ctx, key, &cancelingReader{r: body, cancel: cancel}, &blob.WriterOptions{ContentType: contentType, IfNotExist: ifAbsent})
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	b.exists = func(context.Context) error { return nil }
	return b
}

// cancelingReader cancels an upload if its body cannot be read.
type cancelingReader struct {
	r      io.Reader
	cancel context.CancelCauseFunc
}

// Read returns the next bytes. An error other than io.EOF cancels the upload.
func (r *cancelingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.cancel(err)
	}
	return n, err
}
