package replication

import (
	"sync"
	"time"

	"github.com/varvelog/varve/metadata"
)

const (
	// poolPlaces is how many jobs run at the same time, beside those that are late.
	poolPlaces = 16
	// poolPatience is how long a job may run before it is late.
	poolPatience = 50 * time.Millisecond
)

// job is one step of a partition towards what an image says. It may wait for a lock, a disk or a
// bucket, as long as that hangs.
type job struct {
	tp   metadata.TopicPartition
	what string // what it does, for log messages
	// remote: the job waits for the remote tier, without which produce and fetch continue.
	remote bool
	do     func() // runs in a goroutine of the pool
	// then runs after do, in the goroutine that calls take.
	then func()
	// hangs is called, in any goroutine, while do does not return. May be nil.
	hangs func(error)

	began time.Time
	late  bool
}

// pool runs jobs in the order in which they were added, a few at a time. A late job gives up its
// place and makes room for one more. So hanging jobs delay the others only by some multiples of
// poolPatience, a number that grows with the logarithm of the number of hanging jobs. A partition
// has at most two jobs at a time, which bounds the goroutines. An idle pool has no goroutines.
type pool struct {
	finished chan struct{} // one token: jobs are done
	wg       sync.WaitGroup

	mu      sync.Mutex
	queue   []*job
	running map[*job]bool
	workers int // running goroutines
	late    int // running jobs that are late
	done    []*job
	closed  bool
}

func newPool() *pool {
	return &pool{finished: make(chan struct{}, 1), running: map[*job]bool{}}
}

// add queues a job. After close it does nothing.
func (p *pool) add(j *job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.queue = append(p.queue, j)
	p.startLocked()
}

// placesLocked returns how many goroutines there may be: each late job counts for its own goroutine
// and one more.
func (p *pool) placesLocked() int { return poolPlaces + 2*p.late }

func (p *pool) startLocked() {
	for n := min(len(p.queue), p.placesLocked()-p.workers); n > 0; n-- {
		p.workers++
		p.wg.Go(p.work)
	}
}

func (p *pool) work() {
	for j := p.next(nil); j != nil; j = p.next(j) {
		j.do()
	}
}

// next records a worker's finished job and returns its next one, nil if the worker must end.
func (p *pool) next(done *job) *job {
	p.mu.Lock()
	defer p.mu.Unlock()
	if done != nil {
		delete(p.running, done)
		if done.late {
			p.late--
		}
		p.done = append(p.done, done)
		select {
		case p.finished <- struct{}{}:
		default:
		}
	}
	if len(p.queue) == 0 || p.workers > p.placesLocked() {
		p.workers--
		return nil
	}
	j := p.queue[0]
	p.queue[0] = nil
	p.queue = p.queue[1:]
	j.began = time.Now()
	p.running[j] = true
	return j
}

// take returns the jobs that have finished since the last call. The caller must run the then of
// each.
func (p *pool) take() []*job {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := p.done
	p.done = nil
	return done
}

// relieve gives the places of late jobs to others. It returns whether jobs are running: if so it
// must be called again within about poolPatience.
func (p *pool) relieve(now time.Time) (busy bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for j := range p.running {
		if !j.late && now.Sub(j.began) >= poolPatience {
			j.late = true
			p.late++
		}
	}
	p.startLocked()
	return p.workers > 0
}

// waiting calls f with every job that is late and does not wait for the remote tier.
func (p *pool) waiting(f func(*job)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for j := range p.running {
		if j.late && !j.remote {
			f(j)
		}
	}
}

// close drops the jobs that have not begun and waits for the others.
func (p *pool) close() {
	p.mu.Lock()
	p.closed, p.queue = true, nil
	p.mu.Unlock()
	p.wg.Wait()
}
