package storage

import (
	"context"
	"errors"
	"testing"

	"github.com/varvelog/varve/vfs"
)

// TestMoveAsksFirst: a log stays in its directory until Options.Moving agrees, and what is appended
// during the call is moved too. Otherwise the cluster could name a directory without the log.
func TestMoveAsksFirst(t *testing.T) {
	k := newMoveKit(t, vfs.NewMem())
	l := k.log()
	from, to := l.DirectoryID(), k.otherDir(l).id
	refused := errors.New("refused")
	var asked, done int
	answer := refused
	k.m.options.Moving = func(_ context.Context, topic string, partition int32) (func(), error) {
		asked++
		if topic != l.Topic() || partition != l.Partition() || l.DirectoryID() != from || done != asked-1 {
			t.Errorf("asked about %s-%d in %v", topic, partition, l.DirectoryID())
		}
		if answer != nil {
			done++
			return nil, answer
		}
		fill(t, l, 3)
		return func() { done++ }, nil
	}
	if err := k.m.Move(l.Topic(), l.Partition(), k.otherDir(l).path); err != nil {
		t.Fatal(err)
	}
	k.tryMove(t, k.otherDir(l))
	if l.DirectoryID() != from || asked != 1 {
		t.Errorf("refused %d times, and the log is in %v", asked, l.DirectoryID())
	}
	answer = nil
	end := l.EndOffset()
	k.move(t, l)
	if l.DirectoryID() != to || asked != 2 || done != 2 || l.EndOffset() <= end {
		t.Errorf("asked %d times, told %d times of the end; the log is in %v and ends at %d", asked, done, l.DirectoryID(), l.EndOffset())
	}
}
