package controller

import (
	"context"
	"sync"
	"time"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/stepped"
)

// askPause is how long the controller waits before it asks again for the ends of
// logs, when nobody could be elected by the answers.
const askPause = time.Second

// recovery finds out which replicas have most of the partitions that are to be led
// by an unclean election (KIP-966). It never holds up the controller: one goroutine
// asks, and the next plan has the answers.
type recovery struct {
	mu      sync.Mutex
	asking  bool
	answers map[metadata.TopicPartition]metadata.LogEnds // for the next plan
	next    time.Time                                    // not before then
	waits   bool                                         // there was something to ask, too early
}

// take returns the answers for one plan: what they were about may change with it.
func (r *recovery) take() map[metadata.TopicPartition]metadata.LogEnds {
	r.mu.Lock()
	defer r.mu.Unlock()
	answers := r.answers
	r.answers = nil
	return answers
}

// begin reports whether it is time to ask.
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

// due is when the controller has to plan again so that it asks, if it has to.
func (r *recovery) due() (at time.Time, some bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.next, r.waits
}

// recover asks the replicas of partitions that wait for an unclean election, unless
// it is doing so.
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
