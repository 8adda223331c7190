package objstore

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	// checkTimeout bounds a Check. A caller that wants a shorter limit sets it in the context.
	checkTimeout = 15 * time.Second
	// removeTimeout bounds the removal of the probe's object, which follows the check.
	removeTimeout = 5 * time.Second
	// probeDir is the prefix of the keys of a Check's objects.
	probeDir = ".varve-check/"
)

// Check implements [Bucket].
func (b *blobBucket) Check(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := b.exists(bounded)
	if err == nil {
		err = b.probe(bounded)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("check bucket %s: %w", b.url, ctx.Err())
	case bounded.Err() != nil:
		return fmt.Errorf("use bucket %s: %w: no answer in time: %s", b.url, ErrUnavailable, briefError{err}.Error())
	default:
		return fmt.Errorf("use bucket %s: %w", b.url, err)
	}
}

// Messages for permanent problems that a probe finds.
const (
	unconditional = "the store has no conditional writes (PUT with If-None-Match: *): %s. " +
		"They keep two brokers from overwriting each other's objects: use a store that has them, or a newer version of this one"
	refused = "uploads are refused (%s): check that the credentials may write objects, and the parameters of the object store's URL"
)

// probe puts an object twice on the condition that it is absent. The second Put must fail. Then it
// deletes the object.
func (b *blobBucket) probe(ctx context.Context) (err error) {
	key := b.prefix + probeDir + rand.Text()
	put := func(ifAbsent bool) error {
		body, bodyErr := newBody(strings.NewReader(key))
		if bodyErr != nil {
			return bodyErr
		}
		defer body.seal()
		return b.put(ctx, key, body, ifAbsent)
	}
	defer func() {
		// The object is deleted even if ctx has ended: it may exist, and nothing else deletes it.
		removing, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
		defer cancel()
		removeErr := b.remove(removing, key)
		if err == nil && removeErr != nil && !errors.Is(classify(removeErr), ErrNotFound) {
			err = forGood(removeErr, "objects cannot be deleted (%s): check that the credentials may delete objects")
		}
	}()
	if err = put(true); err != nil {
		if classify(err) == nil && put(false) == nil {
			return fmt.Errorf(unconditional, briefError{err})
		}
		return forGood(err, refused+b.remedy)
	}
	switch err = put(true); {
	case err == nil:
		return fmt.Errorf(unconditional, "it has overwritten an object")
	case errors.Is(classify(err), ErrExists):
		return nil
	default:
		return forGood(err, refused+b.remedy)
	}
}

// forGood describes an error by the format, unless the error is temporary.
func forGood(err error, format string) error {
	if errors.Is(classify(err), ErrUnavailable) {
		return fmt.Errorf("%w: %s", ErrUnavailable, briefError{err}.Error())
	}
	return fmt.Errorf(format, briefError{err})
}

// explain describes the problem with a server's bucket, based on the error of the first request to
// it, which lists or describes the bucket. bucket includes its kind, as in "bucket NAME"; where is
// "at …" or "in …".
func explain(err error, bucket, where string) error {
	if err == nil {
		return nil
	}
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		return fmt.Errorf("the server of %s %s has a certificate signed by unknown authority: let the machine trust the authority, or name it with ca_file=FILE in an s3 URL", bucket, where)
	}
	status, _ := answer(err)
	kind := classify(err)
	switch {
	case errors.Is(kind, ErrNoBucket), errors.Is(kind, ErrNotFound):
		return fmt.Errorf("%w: %s does not exist %s: create it, or correct the object store's URL", ErrNoBucket, bucket, where)
	case errors.Is(kind, ErrUnavailable):
		return fmt.Errorf("%w: no usable answer from %s %s: check the URL and that the server runs: %s", ErrUnavailable, bucket, where, briefError{err}.Error())
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return fmt.Errorf("access to %s %s is denied: check the credentials and that they may list the bucket", bucket, where)
	default:
		return fmt.Errorf("look for %s %s: %w", bucket, where, briefError{err})
	}
}
