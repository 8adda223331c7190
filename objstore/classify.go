package objstore

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"

	"github.com/aws/smithy-go"
	"gocloud.dev/gcerrors"
)

// classify returns the sentinel that describes an error of a driver, or nil for
// an error that a retry will not mend.
func classify(err error) error {
	for _, kind := range [...]error{ErrExists, ErrNoBucket} { // ours already
		if errors.Is(err, kind) {
			return kind
		}
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch api.ErrorCode() {
		case "NoSuchBucket":
			return ErrNoBucket
		case "NoSuchKey", "NotFound":
			return ErrNotFound
		case "PreconditionFailed":
			return ErrExists
		case "SlowDown", "RequestTimeout", "InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException",
			"RequestLimitExceeded", "OperationAborted", "ConditionalRequestConflict", "RequestTimeTooSkewed":
			return ErrUnavailable
		}
	}
	if status := httpStatus(err); status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
		return ErrUnavailable
	}
	if google, ok := errors.AsType[*gcsError](err); ok {
		switch google.status {
		case http.StatusNotFound:
			return ErrNotFound
		case http.StatusPreconditionFailed:
			return ErrExists
		default:
			return nil
		}
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

// httpStatus is the status of the answer that an error is about, or 0.
func httpStatus(err error) int {
	var answered interface{ HTTPStatusCode() int }
	if errors.As(err, &answered) {
		return answered.HTTPStatusCode()
	}
	return 0
}

// isBroken says that the network failed: no answer, or half of one.
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
	return httpStatus(err) == http.StatusRequestedRangeNotSatisfiable
}
