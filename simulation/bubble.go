package simulation

import (
	"testing/synctest"
	"time"
)

// Bubble is the Clock of a testing/synctest bubble, in which package time shows virtual time. Only
// the bubble's first goroutine may use it.
type Bubble struct{}

// Now implements Clock.
func (Bubble) Now() time.Time { return time.Now() }

// Advance implements Clock.
func (Bubble) Advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
