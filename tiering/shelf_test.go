package tiering

import (
	"testing"
	"time"
)

// TestUnreadGoesLast: what was fetched ahead of a reader is there when the reader arrives, whatever
// others read before that. After a while without a reader it is evicted like everything else.
func TestUnreadGoesLast(t *testing.T) {
	now := time.Now()
	s := newShelf[int](10, func(string) int64 { return 1 })
	for key := range 3 {
		s.add(key, "ahead", false, now)
	}
	read := func(from, to int) {
		for key := from; key < to; key++ {
			s.add(key, "read", true, now)
			s.spend(key)
		}
	}
	unread := func() (n int) {
		for key := range 3 {
			if _, c, ok := s.find(key); ok && c == unread {
				n++
			}
		}
		return n
	}
	if read(100, 150); unread() != 3 || s.bytes != 10 {
		t.Errorf("%d of 3 are left for their reader, of %d bytes", unread(), s.bytes)
	}
	s.expire(now.Add(unreadFor))
	if read(200, 250); unread() != 0 {
		t.Errorf("%d wait for a reader who does not come", unread())
	}
}

// TestReadAheadHasARoomOfItsOwn: what is there and unread counts against it, and so does what
// is being read.
func TestReadAheadHasARoomOfItsOwn(t *testing.T) {
	c := &cache[int, string]{ahead: 100}
	c.mu.shelf = newShelf[int](1000, func(string) int64 { return 30 })
	c.mu.shelf.add(1, "ahead", false, time.Now())
	c.mu.shelf.add(2, "read", true, time.Now())
	c.mu.coming = 20
	if room := c.roomLocked(); room != 50 {
		t.Errorf("there is room for %d bytes of 100, want 50", room)
	}
}
