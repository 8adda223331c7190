package controller

import (
	"context"
	"sync"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/stepped"
)

// askPause is how long the controller waits before it asks for log ends again, if the answers did
// not allow an election.
const askPause = time.Second

// recovery finds the replicas with the longest logs, for unclean elections (KIP-966). The
// controller does not wait: one goroutine asks, and a later plan uses the answers.
type recovery struct {
	mu      sync.Mutex
	asking  bool
	answers map[metadata.TopicPartition]metadata.LogEnds // for the next plan
	next    time.Time                                    // the earliest time to ask again
	waits   bool                                         // a plan needed to ask before next
}

// take returns the answers and drops them: one plan uses them, and its changes may make them out of
// date.
func (r *recovery) take() map[metadata.TopicPartition]metadata.LogEnds {
	r.mu.Lock()
	defer r.mu.Unlock()
	answers := r.answers
	r.answers = nil
	return answers
}

// begin reports whether it is time to ask. If so, the caller must ask and call end.
func (r *recovery) begin(some bool, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waits = some && !r.asking
	if !r.waits || now.Before(r.next) {
		return false
	}
	r.asking, r.waits = true, false
	return true
}

func (r *recovery) end(answers map[metadata.TopicPartition]metadata.LogEnds, next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking, r.answers, r.next = false, answers, next
}

// due returns when the controller has to plan again because it needs to ask. some is false if it
// does not.
func (r *recovery) due() (at time.Time, some bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next, r.waits
}

// recover asks the replicas of partitions that wait for an unclean election. It does nothing while
// earlier questions are unanswered.
func (c *Controller) recover(ctx context.Context, image *metadata.Image, asks []metadata.Ask) {
	if !c.recovery.begin(len(asks) > 0, c.now()) {
		return
	}
	stepped.Go(ctx, &c.work, func(ctx context.Context) {
		answers := c.logEnds.All(ctx, image, asks)
		c.recovery.end(answers, c.now().Add(askPause))
		c.images.Again()
	})
}
