package replication

import (
	"errors"
	"slices"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
)

// joined waits until the second broker has all committed records, and returns its replica.
func (c *pair) joined(m *Manager, name string) *Partition {
	c.t.Helper()
	tp := metadata.TopicPartition{Topic: name}
	var p *Partition
	eventually(c.t, "the second broker has all that is committed", func() (ok bool) {
		p, ok = m.Partition(tp)
		return ok && p.HighWatermark() > 0 && p.HighWatermark() == c.partition(name, 0).HighWatermark()
	})
	return p
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// writeAlone appends at the leader, while the second broker does not run.
func (c *pair) writeAlone(p *Partition, values ...string) {
	c.t.Helper()
	if _, err := p.Append(batch(c.t, 1000, values...), AcksLeader); err != nil {
		c.t.Fatal(err)
	}
}

// TestFollowerStartsWhereTheTierEnds (R12): a replica is added to a partition whose leader has a
// part of it only in the bucket. The bucket is unreachable at first.
func TestFollowerStartsWhereTheTierEnds(t *testing.T) {
	c := newPair(t)
	c.create("t")
	leader := c.partition("t", 0)
	for _, value := range []string{"one", "two", "three"} {
		c.writeAlone(leader, value)
		if err := leader.log.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	c.writeAlone(leader, "four")
	leader.log.SetHighWatermark(4)
	cfg := leader.log.Config()
	cfg.LocalRetentionBytes = 0
	leader.log.SetConfig(cfg)
	if err := leader.log.Flush(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	closed := leader.log.ClosedSegments(0)
	files, release, err := closed[1].Open()
	if err != nil {
		t.Fatal(err)
	}
	epochs := files.LeaderEpochs
	release()
	leader.log.SetRemoteEndOffset(2)
	if _, err = leader.log.EnforceRetention(time.Now()); err != nil || leader.log.LocalStartOffset() != 2 {
		t.Fatalf("the local log begins at %d, %v", leader.log.LocalStartOffset(), err)
	}
	remote := newFakeTier()
	remote.state, remote.err = storage.RemoteState{EndOffset: 2, Epochs: epochs}, errors.New("out of reach")
	second := c.follow(remote, 10*time.Millisecond)
	eventually(t, "an attempt fails", func() bool {
		var m dto.Metric
		return second.metrics.restores.WithLabelValues("failed").Write(&m) == nil && m.GetCounter().GetValue() > 0
	})
	remote.mu.Lock()
	remote.err = nil
	remote.mu.Unlock()
	p := c.joined(second, "t")
	if have := contents(t, p); !slices.Equal(have, []string{"three", "four"}) || p.log.LocalStartOffset() != 2 || p.log.StartOffset() != 0 {
		t.Errorf("it has %v, local from %d, the log starts at %d", have, p.log.LocalStartOffset(), p.log.StartOffset())
	}
	if epoch, end := p.log.EndOffsetForEpoch(epochs[0].Epoch); epoch != epochs[0].Epoch || end != 4 {
		t.Errorf("epoch %d ends at %d", epoch, end)
	}
	if _, follows := remote.followed[p.tp]; !follows {
		t.Error("the remote tier is not followed")
	}
	// The follower learns about later uploads.
	leader.log.SetRemoteEndOffset(3)
	c.writeAlone(leader, "five")
	eventually(t, "it hears what is uploaded", func() bool { return p.log.RemoteEndOffset() == 3 })
}

// TestLogStartWithinABatch: a follower that begins at a log start moved by DeleteRecords gets the
// whole batch that contains the log start.
func TestLogStartWithinABatch(t *testing.T) {
	c := newPair(t)
	c.create("t")
	leader := c.partition("t", 0)
	c.writeAlone(leader, "one", "two", "three")
	leader.log.SetHighWatermark(3)
	if err := leader.log.AdvanceStartOffset(1); err != nil {
		t.Fatal(err)
	}
	p := c.joined(c.follow(nil, 10*time.Millisecond), "t")
	if have := contents(t, p); len(have) != 3 || p.log.StartOffset() != 1 {
		t.Errorf("it has %v, the log starts at %d", have, p.log.StartOffset())
	}
}
