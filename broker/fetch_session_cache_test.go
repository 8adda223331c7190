package broker

import (
	"slices"
	"testing"
	"time"

	"github.com/varvelog/varve/protocol"
)

func TestSessionEviction(t *testing.T) {
	t.Run("young sessions stay", func(t *testing.T) {
		s := newSessionTest(t, 2)
		s.open(1)
		s.open(1)
		if id := s.open(1, 2, 3); id != noSession {
			t.Error("a session in use was displaced")
		}
	})
	t.Run("unused ones go first", func(t *testing.T) {
		s := newSessionTest(t, 2)
		first, second := s.open(1), s.open(1, 2)
		s.now = s.now.Add(sessionEvictionAge + time.Millisecond)
		s.fetch(fetchOf(13, first, 1), nil)
		if s.open(1) == noSession {
			t.Fatal("no room was made")
		}
		if _, _, _, code := s.fetch(fetchOf(13, second, 1), nil); code != protocol.FetchSessionIDNotFound {
			t.Errorf("the unused session: %v", code)
		}
		if _, _, _, code := s.fetch(fetchOf(13, first, 2), nil); code != protocol.None {
			t.Errorf("the one in use: %v", code)
		}
	})
	t.Run("larger ones displace smaller ones that had their time", func(t *testing.T) {
		s := newSessionTest(t, 2)
		large, small := s.open(1, 2, 3), s.open(1, 2)
		s.now = s.now.Add(sessionEvictionAge + time.Millisecond)
		s.fetch(fetchOf(13, large, 1), nil)
		s.fetch(fetchOf(13, small, 1), nil)
		if s.open(1, 2) != noSession {
			t.Error("a session of the same size was displaced")
		}
		if s.open(1, 2, 3) == noSession {
			t.Error("no smaller session was displaced")
		}
		if _, _, _, code := s.fetch(fetchOf(13, small, 2), nil); code != protocol.FetchSessionIDNotFound {
			t.Errorf("the smaller session: %v", code)
		}
	})
	t.Run("no slots", func(t *testing.T) {
		if newSessionTest(t, 0).open(1) != noSession {
			t.Error("a session was opened")
		}
	})
}

// TestSessionsAreBounded: all sessions together hold a bounded number of partitions.
func TestSessionsAreBounded(t *testing.T) {
	s := newSessionTest(t, 10)
	s.sessions.maxPartitions = 5
	first, second := s.open(1, 2), s.open(1, 2)
	if s.open(1, 2) != noSession {
		t.Error("a session was opened beyond the bound")
	}
	if _, _, _, code := s.fetch(fetchOf(13, first, 1, 3), nil); code != protocol.None {
		t.Errorf("grow to the bound: %v", code)
	}
	if _, _, _, code := s.fetch(fetchOf(13, second, 1, 3), nil); code != protocol.FetchSessionIDNotFound {
		t.Errorf("grow beyond the bound: %v", code)
	}
	if n, partitions := s.sessions.size(); n != 1 || partitions != 3 {
		t.Errorf("%d sessions with %d partitions are left", n, partitions)
	}
}

func TestRepeatedPartitionCountsOnceInASession(t *testing.T) {
	s := newSessionTest(t, 10)
	id := s.open(1, 1, 2)
	if _, asked, _, _ := s.fetch(fetchOf(13, id, 1), nil); !slices.Equal(asked, []int32{1, 2}) {
		t.Errorf("asked %v", asked)
	}
	if _, partitions := s.sessions.size(); partitions != 2 {
		t.Errorf("%d partitions", partitions)
	}
}
