package objstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/aws/smithy-go"
	"gocloud.dev/gcerrors"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
)

// classify returns the sentinel that describes a driver's error, or nil for an error that a retry
// will not fix.
func classify(err error) error {
	// The error may already be one of this package's.
	for _, kind := range [...]error{ErrExists, ErrNoBucket, ErrUnavailable} {
		if errors.Is(err, kind) {
			return kind
		}
	}
	if status, code := answer(err); status != 0 || code != "" {
		return classifyAnswer(status, code)
	}
	// This must precede gocloud.dev's code, which reports a host without an address as a missing
	// object.
	if isUnanswered(err) {
		return ErrUnavailable
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return ErrNotFound
	case gcerrors.FailedPrecondition:
		return ErrExists
	case gcerrors.Internal, gcerrors.ResourceExhausted, gcerrors.DeadlineExceeded:
		return ErrUnavailable
	case gcerrors.PermissionDenied, gcerrors.InvalidArgument, gcerrors.Unimplemented:
		return nil
	default: // the driver does not know either
	}
	switch {
	case errors.Is(err, syscall.ENOTDIR):
		return ErrNotFound // reading a directory: the key has a "/" after the name of an object
	case isBroken(err):
		return ErrUnavailable
	default:
		return nil
	}
}

// answer returns the status and the error code of a store's HTTP answer. Both are empty if there
// was no answer, or only a part of one.
func answer(err error) (status int, code string) {
	var answered interface{ HTTPStatusCode() int } // of the AWS SDK
	if google, ok := errors.AsType[*googleapi.Error](err); ok {
		status = google.Code
	} else if token, ok := errors.AsType[*oauth2.RetrieveError](err); ok && token.Response != nil {
		status = token.Response.StatusCode
	} else if azure, ok := errors.AsType[*azcore.ResponseError](err); ok {
		status, code = azure.StatusCode, azure.ErrorCode
	} else if token, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok && token.RawResponse != nil {
		status = token.RawResponse.StatusCode
	} else if errors.As(err, &answered) {
		status = answered.HTTPStatusCode()
	}
	if aws, ok := errors.AsType[smithy.APIError](err); ok {
		code = aws.ErrorCode()
	}
	if status/100 == 2 {
		status = 0 // a success that broke off later
	}
	return status, code
}

func classifyAnswer(status int, code string) error {
	switch code {
	case "NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted":
		return ErrNoBucket
	case "NoSuchKey", "NotFound":
		return ErrNotFound
	case "PreconditionFailed", "BlobAlreadyExists":
		return ErrExists
	case "SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException",
		"RequestLimitExceeded", "OperationAborted", "ConditionalRequestConflict", "RequestTimeTooSkewed":
		return ErrUnavailable
	case "InvalidBlockList", "InvalidBlobOrBlock":
		// Another upload of the key has finished and discarded the blocks of this one.
		return ErrUnavailable
	}
	switch {
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusPreconditionFailed:
		return ErrExists
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return ErrUnavailable
	case status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
		return nil // the store does not implement the request, so a retry cannot help
	case status >= http.StatusInternalServerError:
		return ErrUnavailable
	default:
		return nil
	}
}

// isUnanswered reports whether a request got no answer at all.
func isUnanswered(err error) bool {
	_, sent := errors.AsType[*url.Error](err)
	_, lookedUp := errors.AsType[*net.DNSError](err)
	// Such an error with an answer has a status, which classify has already used.
	_, token := errors.AsType[*azidentity.AuthenticationFailedError](err)
	return sent || lookedUp || token
}

// isBroken reports whether the network or the disk failed: there is no answer, or only a part of
// one.
func isBroken(err error) bool {
	var netErr net.Error // timeouts, refused and reset connections, name resolution
	switch {
	case errors.As(err, &netErr), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errShortAnswer):
		return true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return true
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.ECONNREFUSED):
		return true
	default:
		// http.Transport returns a plain io.EOF if the server closed the connection while a request
		// was being written.
		return errors.Is(err, io.EOF)
	}
}

// isRangeError reports whether a store rejects a range because it begins after the end of the
// object.
func isRangeError(err error) bool {
	status, _ := answer(err)
	return status == http.StatusRequestedRangeNotSatisfiable
}

// googleMessage returns the message of an answer from Google. For reads, Google's client does not
// parse the answer.
func googleMessage(e *googleapi.Error) string {
	var answer struct {
		Error struct{ Message string }
	}
	if e.Message == "" && json.Unmarshal([]byte(e.Body), &answer) == nil {
		return answer.Error.Message
	}
	return cmp.Or(e.Message, e.Body)
}

// briefError is a driver's error with a text of one line. Drivers quote answers of many lines. They
// also quote URLs, which for Azure may contain a signature that is a secret.
type briefError struct{ error }

// Unwrap returns the driver's error.
func (b briefError) Unwrap() error { return b.error }

// Error returns the innermost text that helps.
func (b briefError) Error() string {
	text := b.error.Error()
	if google, ok := errors.AsType[*googleapi.Error](b.error); ok {
		text = fmt.Sprintf("HTTP status %d: %s", google.Code, googleMessage(google))
	} else if azure, ok := errors.AsType[*azcore.ResponseError](b.error); ok {
		text = fmt.Sprintf("HTTP status %d: %s", azure.StatusCode, azure.ErrorCode)
	} else if sent, ok := errors.AsType[*url.Error](b.error); ok {
		text = sent.Op + ": " + sent.Err.Error()
	}
	return strings.Join(strings.Fields(text), " ")
}
