package main

import "errors"

// exitUnhealthy is the exit status of `varve cluster status` if partitions do not take writes.
// Scripts rely on it.
const exitUnhealthy = 3

// statusError is an error with an exit status of its own.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// exitStatus returns the exit status for an error.
func exitStatus(err error) int {
	if err == nil {
		return 0
	}
	if s, ok := errors.AsType[*statusError](err); ok {
		return s.status
	}
	return 1
}
