package integration

import (
	"testing"
	"time"
)

// Every record acknowledged with acks=all and a flush must exist after kill -9 under load, once and
// in order, and offsets must continue without a gap.
func TestKillNineLosesNothing(t *testing.T) {
	rounds := 3
	if long() {
		rounds = 30
	}
	const partitions = 4
	broker := startBroker(t)
	createTopic(t, newAdmin(t, broker.bootstrap), "crash", partitions, "flush.messages", "1", "segment.bytes", "1048576")

	numbers := startNumbers(t, broker.bootstrap, "crash", partitions, 2000)
	count := func() int { all, _ := numbers.count(); return all }
	for range rounds {
		before := count()
		eventually(t, time.Minute, "some thousand records are acknowledged", func() bool { return count() > before+3000 })
		broker.kill9(t)
		broker.start(t)
	}
	numbers.stop()
	numbers.check()
}
