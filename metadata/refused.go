package metadata

import "fmt"

// RefusedError is a request that the cluster refuses for a reason that its client can understand
// and mend. Error returns both parts, for logs. Unwrap returns the sentinel.
type RefusedError struct {
	Sentinel error  // one of this package, which has an error code
	Text     string // for the client, complete without the sentinel's text
}

func (e *RefusedError) Error() string { return e.Sentinel.Error() + ": " + e.Text }

// Unwrap returns the sentinel.
func (e *RefusedError) Unwrap() error { return e.Sentinel }

func refuse(sentinel error, format string, args ...any) error {
	return &RefusedError{Sentinel: sentinel, Text: fmt.Sprintf(format, args...)}
}
