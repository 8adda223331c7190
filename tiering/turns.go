package tiering

import (
	"container/list"
	"time"
)

// quantum is the number of bytes that a client may read in one turn, in addition to what its last
// turns have left. A client whose next read is larger is skipped until it has saved enough.
const quantum = 1 << 20

// turns is a queue in which clients take turns by the bytes that they read, not by the number of
// their reads (deficit round robin). So a client that replays a topic does not keep the others
// waiting. The lock of its fetcher guards it.
type turns struct {
	byName map[string]*client
	// ring has the *client with queued reads. The first one has its turn.
	ring   list.List
	length int
}

// client is the queue of one client's reads, in their order.
type client struct {
	name    string
	fetches list.List // of *fetch
	deficit int64     // bytes
	granted bool      // the quantum of this turn
	place   *list.Element
}

func (t *turns) push(x *fetch) {
	c := t.byName[x.client]
	if c == nil {
		c = &client{name: x.client}
		c.place = t.ring.PushBack(c)
		put(&t.byName, x.client, c)
	}
	x.place = c.fetches.PushBack(x)
	t.length++
}

// remove removes a queued read.
func (t *turns) remove(x *fetch) {
	c := t.byName[x.client]
	c.fetches.Remove(x.place)
	x.place = nil
	t.length--
	if c.fetches.Len() == 0 {
		t.ring.Remove(c.place)
		delete(t.byName, c.name)
	}
}

// take returns the next read of a client that does not have to wait for its budget. If there is
// none, it returns nil and how long until there is one; negative: nothing is queued.
func (t *turns) take(budgetOf func(client string) time.Duration) (next *fetch, wait time.Duration) {
	wait = -1
	for passed := 0; passed < t.ring.Len(); {
		c := t.ring.Front().Value.(*client)
		if w := budgetOf(c.name); w > 0 {
			if wait < 0 || w < wait {
				wait = w
			}
			t.pass(c)
			passed++
			continue
		}
		x := c.fetches.Front().Value.(*fetch)
		if !c.granted {
			c.deficit += quantum
			c.granted = true
		}
		if c.deficit < x.bytes {
			t.pass(c)
			passed = 0 // it has saved something, and will have its turn
			continue
		}
		c.deficit -= x.bytes
		t.remove(x)
		return x, 0
	}
	return nil, wait
}

// pass ends a client's turn.
func (t *turns) pass(c *client) {
	c.granted = false
	t.ring.MoveToBack(c.place)
}
