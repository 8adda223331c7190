package tiering

import (
	"container/list"
	"time"
)

// quantum is how many bytes a client may read in one turn, and as much more as its last turns have
// left. A client whose next read is larger is passed over until it has saved enough.
const quantum = 1 << 20

// turns is a queue in which clients take turns by the bytes that they read, not by the number of
// their reads (deficit round robin): one that replays a topic does not keep the others waiting.
type turns struct {
	byName map[string]*client
	ring   list.List // of *client; the first one has its turn. Clients with nothing queued are not in
	length int
}

// client is the reads of one client that are queued, in their order.
type client struct {
	name    string
	fetches list.List // of *fetch
	deficit int64     // bytes
	granted bool      // in this turn
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

// remove takes a read out that is queued.
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

// take is the next read, of a client that need not wait for its budget. Without one it is nil, and
// wait is how long it takes until there is one; negative: nothing is queued.
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
			passed = 0 // it has saved something: it will have its turn
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
