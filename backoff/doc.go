// Package backoff is the pause between attempts. It owns the arithmetic and nothing else: no clock, no goroutine, no error. A pause passes as package stepped has it.
package backoff
