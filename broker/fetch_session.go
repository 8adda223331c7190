package broker

import (
	"container/list"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/protocol"
)

// Fetch sessions (KIP-227): a consumer names its partitions once. After that its requests carry
// only what it changed, and the responses only the partitions with news. Epochs keep the two sides
// in step: each request of a session carries the successor of the last request's epoch.

const (
	noSession        int32 = 0
	fullEpoch        int32 = 0  // opens a session, and closes the one that the request names
	sessionlessEpoch int32 = -1 // a fetch by itself; closes the session that the request names
	firstEpoch       int32 = 1  // of the request after the one that opened the session
)

// fetchKey names a partition inside a session: by topic id since Fetch v13, by name before.
type fetchKey struct {
	id        metadata.TopicID
	name      string
	partition int32
}

// fetchTarget is one partition that a request asks for, by itself or through its session.
type fetchTarget struct {
	fetchKey
	maxBytes           int32
	offset             int64
	currentLeaderEpoch int32
	lastFetchedEpoch   int32
	highWatermark      int64 // last sent to the client in the session, -1 for none
	logStart           int64 // log start offset of a replica's log, which is in directory
	directory          metadata.DirectoryID
}

// fetchNews is the part of a partition's result that decides whether the response includes it.
type fetchNews struct {
	bytes          int64
	highWatermark  int64
	logStartOffset int64
	// remoteEndOffset is for replicas; consumers do not get it, so theirs is 0.
	remoteEndOffset int64
	failed          bool
	diverged        bool
	redirected      bool
}

// sessionPartition is one partition of a session, with the offsets that the client was last sent.
type sessionPartition struct {
	fetchTarget
	highWatermark, logStartOffset, remoteEndOffset int64
}

// hasNews reports whether the response must include the partition, and notes what it then sends.
func (p *sessionPartition) hasNews(n fetchNews) bool {
	news := n.bytes > 0 || n.highWatermark != p.highWatermark || n.logStartOffset != p.logStartOffset || n.remoteEndOffset != p.remoteEndOffset ||
		n.failed || n.diverged || n.redirected
	p.highWatermark, p.logStartOffset, p.remoteEndOffset = n.highWatermark, n.logStartOffset, n.remoteEndOffset
	if n.failed || n.diverged || n.redirected {
		p.highWatermark = -1 // so that the next response includes it once the error is over
	}
	return news
}

// fetchSession is what the broker keeps of one client's fetches.
type fetchSession struct {
	id           int32
	usesTopicIDs bool
	created      time.Time

	// Guarded by fetchSessions.mu.
	lastUsed time.Time
	counted  int           // partitions at the last use
	recent   *list.Element // in fetchSessions.mu.used

	mu struct {
		sync.Mutex
		epoch int32 // of the next request
		parts map[fetchKey]*list.Element
		order list.List // *sessionPartition, in the order in which they are served
	}
}

// fetchContext is one request's view of its session.
type fetchContext struct {
	sessions *fetchSessions
	session  *fetchSession // nil for a full fetch or a fetch without a session
	opens    bool          // open a session if there is room
	usesIDs  bool
	epoch    int32 // the session's epoch for the response to be valid
	targets  []fetchTarget
}

// begin finds or starts a request's session and lists the request's targets. A request that does
// not match its session gets an error code for the whole response. The list is made in space if
// that is large enough.
func (s *fetchSessions) begin(req *kmsg.FetchRequest, space []fetchTarget) (*fetchContext, protocol.ErrorCode) {
	usesIDs := req.Version >= 13
	if req.SessionEpoch == fullEpoch || req.SessionEpoch == sessionlessEpoch {
		if req.SessionID != noSession {
			s.remove(req.SessionID)
		}
		c := &fetchContext{sessions: s, usesIDs: usesIDs, targets: appendTargets(space, req)}
		c.opens = req.SessionEpoch == fullEpoch
		return c, protocol.None
	}
	session := s.find(req.SessionID)
	if session == nil {
		return nil, protocol.FetchSessionIDNotFound
	}
	return s.resume(session, req, usesIDs, space)
}

func (s *fetchSessions) resume(session *fetchSession, req *kmsg.FetchRequest, usesIDs bool, space []fetchTarget) (*fetchContext, protocol.ErrorCode) {
	session.mu.Lock()
	switch {
	case session.mu.epoch != req.SessionEpoch:
		session.mu.Unlock()
		return nil, protocol.InvalidFetchSessionEpoch
	case session.usesTopicIDs != usesIDs:
		session.mu.Unlock()
		return nil, protocol.FetchSessionTopicIDError
	}
	session.updateLocked(req)
	session.mu.epoch = nextSessionEpoch(session.mu.epoch)
	c := &fetchContext{sessions: s, session: session, usesIDs: usesIDs, epoch: session.mu.epoch}
	c.targets = slices.Grow(space, session.mu.order.Len())
	for e := session.mu.order.Front(); e != nil; e = e.Next() {
		known := e.Value.(*sessionPartition)
		target := known.fetchTarget
		target.highWatermark = known.highWatermark
		c.targets = append(c.targets, target)
	}
	session.mu.Unlock()

	switch {
	case len(c.targets) == 0:
		s.remove(session.id)
		return &fetchContext{sessions: s, usesIDs: usesIDs}, protocol.None
	case !s.touch(session, len(c.targets)):
		// There is no room for the added partitions: the client opens a new session, or fetches
		// without.
		return nil, protocol.FetchSessionIDNotFound
	}
	return c, protocol.None
}

// updateLocked adds and changes the partitions that the request names, and drops those it forgets.
func (f *fetchSession) updateLocked(req *kmsg.FetchRequest) {
	for _, t := range appendTargets(nil, req) {
		if e, ok := f.mu.parts[t.fetchKey]; ok {
			e.Value.(*sessionPartition).fetchTarget = t
			continue
		}
		f.addLocked(&sessionPartition{fetchTarget: t, highWatermark: -1, logStartOffset: -1})
	}
	for _, t := range req.ForgottenTopics {
		for _, number := range t.Partitions {
			key := fetchKey{id: t.TopicID, name: t.Topic, partition: number}
			if e, ok := f.mu.parts[key]; ok {
				f.mu.order.Remove(e)
				delete(f.mu.parts, key)
			}
		}
	}
}

func (f *fetchSession) addLocked(p *sessionPartition) {
	f.mu.parts[p.fetchKey] = f.mu.order.PushBack(p)
}

// finish returns which targets belong in the response, and under which session. news has one
// entry for each target, in the same order. The error code is for the whole response.
func (c *fetchContext) finish(news []fetchNews) (sessionID int32, include []bool, code protocol.ErrorCode) {
	if c.session != nil {
		return c.finishIncremental(news)
	}
	include = make([]bool, len(news))
	for i := range include {
		include[i] = true
	}
	if c.opens {
		sessionID = c.sessions.open(c, news)
	}
	return sessionID, include, protocol.None
}

func (c *fetchContext) finishIncremental(news []fetchNews) (int32, []bool, protocol.ErrorCode) {
	f := c.session
	f.mu.Lock()
	defer f.mu.Unlock()
	// the client has sent another request of this session on another connection
	if f.mu.epoch != c.epoch {
		return f.id, nil, protocol.InvalidFetchSessionEpoch
	}
	include := make([]bool, len(news))
	for i, n := range news {
		e, ok := f.mu.parts[c.targets[i].fetchKey]
		if !ok {
			continue
		}
		include[i] = e.Value.(*sessionPartition).hasNews(n)
		if n.bytes > 0 {
			f.mu.order.MoveToBack(e) // partitions without records are first next time
		}
	}
	return f.id, include, protocol.None
}

// nextSessionEpoch counts up, and wraps around to firstEpoch, past the special epochs.
func nextSessionEpoch(epoch int32) int32 {
	if epoch == math.MaxInt32 {
		return firstEpoch
	}
	return epoch + 1
}

// appendTargets lists the partitions that a request names.
func appendTargets(targets []fetchTarget, req *kmsg.FetchRequest) []fetchTarget {
	n := 0
	for i := range req.Topics {
		n += len(req.Topics[i].Partitions)
	}
	targets = slices.Grow(targets, n)
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			targets = append(targets, fetchTarget{
				fetchKey:           fetchKey{id: t.TopicID, name: t.Topic, partition: p.Partition},
				maxBytes:           p.PartitionMaxBytes,
				offset:             p.FetchOffset,
				currentLeaderEpoch: p.CurrentLeaderEpoch,
				lastFetchedEpoch:   p.LastFetchedEpoch,
				logStart:           p.LogStartOffset,
				directory:          p.ReplicaDirectoryID,
				highWatermark:      -1,
			})
		}
	}
	return targets
}
