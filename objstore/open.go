package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"
)

// checkTimeout bounds how long Open waits for a store's first answer.
const checkTimeout = 15 * time.Second

// Open opens a bucket by URL and checks that it can be reached:
//
//	file:///DIR                 DIR is created if its parent exists
//	s3://BUCKET?region=R        on AWS
//	s3://BUCKET?endpoint=http://HOST:PORT&region=R&path_style=true    on another server
//	gs://BUCKET                 credentials from the environment (Application Default Credentials)
//	mem://                      empty, gone when closed; for tests
//
// All of them take prefix=P, which goes before every key; s3 takes profile=P as
// well, and ca_file=FILE, the authorities (PEM) that verify its server in place
// of the system's or AWS_CA_BUNDLE's. Credentials never stand in the URL: s3 takes them from the AWS
// environment variables, profiles and instance roles.
//
// The errors of Open fit in one line and say what to do.
func Open(ctx context.Context, rawURL string) (Bucket, error) {
	u, prefix, err := parse(rawURL)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var b *blobBucket
	switch u.Scheme {
	case "file":
		b, err = openFile(u)
	case "mem":
		b = openMem()
	case "s3":
		b, err = openS3(ctx, u)
	default:
		b, err = openGCS(ctx, u)
	}
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", u.Redacted(), err)
	}
	b.prefix = prefix
	if err = b.exists(ctx); err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", u.Redacted(), errors.Join(err, b.Close()))
	}
	return b, nil
}

// CheckURL says what is wrong with a bucket's URL, without asking the store.
func CheckURL(rawURL string) error {
	_, _, err := parse(rawURL)
	return err
}

// parse takes a bucket's URL apart; prefix ends in a slash if there is one.
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

// parameters are the query parameters of each scheme.
var parameters = map[string][]string{
	"file": {"prefix"},
	"gs":   {"prefix"},
	"mem":  {"prefix"},
	"s3":   {"ca_file", "endpoint", "path_style", "prefix", "profile", "region"},
}

func parseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The error of net/url quotes the URL, which may hold a password.
		return nil, errors.New("open bucket: the URL is malformed; it must look like file:///var/lib/varve/objects or s3://bucket?region=eu-central-1")
	}
	allowed, known := parameters[u.Scheme]
	switch {
	case !known:
		return nil, fmt.Errorf("open bucket %s: unknown scheme %q: use file, s3, gs or mem", u.Redacted(), u.Scheme)
	case u.User != nil:
		return nil, fmt.Errorf("open bucket %s: credentials do not belong in the URL: set them in the environment, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3", u.Redacted())
	case u.Scheme != "file" && strings.Trim(u.Path, "/") != "":
		return nil, fmt.Errorf("open bucket %s: a path after the bucket is not supported: use ?prefix=%s/", u.Redacted(), strings.Trim(u.Path, "/"))
	case (u.Scheme == "s3" || u.Scheme == "gs") && u.Host == "":
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
		// A driver stores what it got when its reader fails, unless its context
		// is canceled before.
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

// cancelingReader cancels an upload when its body cannot be read.
type cancelingReader struct {
	r      io.Reader
	cancel context.CancelCauseFunc
}

// Read reads on.
func (r *cancelingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.cancel(err)
	}
	return n, err
}
