package simulation

import (
	"testing/synctest"
	"time"
)

// Bubble is the Clock of a testing/synctest bubble: package time shows virtual time there. It is
// to be used by the bubble's first goroutine.
type Bubble struct{}

// Now implements Clock.
func (Bubble) Now() time.Time { return time.Now() }

// Advance implements Clock.
func (Bubble) Advance(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}
