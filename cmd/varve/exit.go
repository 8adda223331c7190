package main

import "errors"

// exitUnhealthy is what `varve cluster status` ends with when partitions do not take writes; scripts rely on it.
const exitUnhealthy = 3

// statusError makes the process end with a status of its own.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// exitStatus is what the process ends with.
func exitStatus(err error) int {
	if err == nil {
		return 0
	}
	if s, ok := errors.AsType[*statusError](err); ok {
		return s.status
	}
	return 1
}
