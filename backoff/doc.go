// Package backoff computes the pause between attempts. It owns only the arithmetic: no clock, no
// goroutine, no error. Package stepped passes the time.
package backoff
