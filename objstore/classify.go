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

// classify returns the sentinel that describes an error of a driver, or nil for
// an error that a retry will not mend.
func classify(err error) error {
	for _, kind := range [...]error{ErrExists, ErrNoBucket, ErrUnavailable} { // ours already
		if errors.Is(err, kind) {
			return kind
		}
	}
	if status, code := answer(err); status != 0 || code != "" {
		return classifyAnswer(status, code)
	}
	if isUnanswered(err) { // before gocloud.dev, to which a host without an address is an object that is not found
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
		return ErrNotFound // of a directory: an object stands where the key has a slash
	case isBroken(err):
		return ErrUnavailable
	default:
		return nil
	}
}

// answer is what a store has said: the status of its HTTP answer and its own
// word for the error. Both are empty if there was no answer, or half of one.
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
		status = 0 // it said yes, and broke off
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
		return ErrUnavailable // another upload of the key has ended and dropped the blocks of this one
	}
	switch {
	case status == http.StatusNotFound:
		return ErrNotFound
	case status == http.StatusPreconditionFailed:
		return ErrExists
	case status == http.StatusTooManyRequests, status == http.StatusRequestTimeout:
		return ErrUnavailable
	case status == http.StatusNotImplemented, status == http.StatusHTTPVersionNotSupported:
		return nil // the store will never know it
	case status >= http.StatusInternalServerError:
		return ErrUnavailable
	default:
		return nil
	}
}

// isUnanswered says that a request got no answer at all.
func isUnanswered(err error) bool {
	_, sent := errors.AsType[*url.Error](err)
	_, lookedUp := errors.AsType[*net.DNSError](err)
	_, token := errors.AsType[*azidentity.AuthenticationFailedError](err) // with an answer it has a status
	return sent || lookedUp || token
}

// isBroken says that the network or the disk failed: no answer, or half of one.
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
		// http.Transport reports a connection that the server closed while a
		// request was written as a plain io.EOF.
		return errors.Is(err, io.EOF)
	}
}

// isRangeError says that a store refuses a range because it begins past the
// object's end.
func isRangeError(err error) bool {
	status, _ := answer(err)
	return status == http.StatusRequestedRangeNotSatisfiable
}

// googleMessage is what an answer of Google's says. The client has not looked into
// those of reads.
func googleMessage(e *googleapi.Error) string {
	var answer struct {
		Error struct{ Message string }
	}
	if e.Message == "" && json.Unmarshal([]byte(e.Body), &answer) == nil {
		return answer.Error.Message
	}
	return cmp.Or(e.Message, e.Body)
}

// briefError is an error of a driver with a text of one line. Drivers quote answers of
// many lines, and URLs, which in Azure may hold a signature that is a secret.
type briefError struct{ error }

// Unwrap returns the driver's error.
func (b briefError) Unwrap() error { return b.error }

// Error is the innermost text that tells something.
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
