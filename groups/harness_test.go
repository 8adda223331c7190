package groups

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator"
	"github.com/varvelog/varve/coordinator/coordinatortest"
)

// harness is a coordinator over a log in memory, in a bubble of virtual time, and
// clients that remember what they were told.
type harness struct {
	t       *testing.T
	log     *coordinatortest.MemLog
	c       *Coordinator
	config  Config
	epoch   int32
	uuids   int
	clients map[string]*client
	wg      sync.WaitGroup
	stop    context.CancelFunc
	ctx     func() context.Context

	mu struct {
		sync.Mutex
		lines []string
	}
}

type client struct {
	name       string
	memberID   string
	instanceID *string
	generation int32
	protocol   *string
	leads      bool
	assignment []byte
}

func newHarness(t *testing.T, change func(*Config)) *harness {
	t.Helper()
	h := &harness{t: t, log: &coordinatortest.MemLog{}, config: DefaultConfig(), clients: map[string]*client{}}
	h.config.Partitions = 2
	if change != nil {
		change(&h.config)
	}
	h.c = New(Options{Log: h.log, Config: h.config, NewUUID: func() string {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.uuids++
		return fmt.Sprint(h.uuids)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	h.ctx, h.stop = func() context.Context { return ctx }, cancel
	h.elect()
	return h
}

// close ends everything; whoever waits must get an answer.
func (h *harness) close() {
	h.c.Close()
	h.wg.Wait()
	h.stop()
}

// elect moves all partitions to a new leader epoch.
func (h *harness) elect() {
	h.epoch++
	for p := range h.config.Partitions {
		h.log.SetEpoch(p, h.epoch)
		h.c.OnElected(p, h.epoch)
	}
	synctest.Wait()
}

func (h *harness) client(name string) *client {
	if h.clients[name] == nil {
		h.clients[name] = &client{name: name, generation: -1}
	}
	return h.clients[name]
}

// async does a request in the background; what it says is collected by settle.
func (h *harness) async(do func() string) {
	h.wg.Go(func() {
		line := do()
		h.mu.Lock()
		defer h.mu.Unlock()
		h.mu.lines = append(h.mu.lines, line)
	})
}

// settle waits until nothing moves and returns what was answered, sorted.
func (h *harness) settle() string {
	synctest.Wait()
	h.mu.Lock()
	lines := h.mu.lines
	h.mu.lines = nil
	h.mu.Unlock()
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func errName(code int16) string {
	if code == 0 {
		return "ok"
	}
	return kerr.TypedErrorForCode(code).Message
}

type joinArgs struct {
	group, protocolType string
	protocols           []string
	topics              []string
	session, rebalance  time.Duration
	version             int16
}

func (h *harness) join(cl *client, a joinArgs) {
	req := kmsg.NewPtrJoinGroupRequest()
	req.Version, req.Group, req.MemberID, req.InstanceID, req.ProtocolType = a.version, a.group, cl.memberID, cl.instanceID, a.protocolType
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = millis(a.session), millis(a.rebalance)
	subscription := kmsg.NewConsumerMemberMetadata()
	subscription.Topics = a.topics
	for _, name := range a.protocols {
		p := kmsg.NewJoinGroupRequestProtocol()
		p.Name, p.Metadata = name, subscription.AppendTo(nil)
		req.Protocols = append(req.Protocols, p)
	}
	h.async(func() string {
		resp := h.c.JoinGroup(h.ctx(), req, ClientInfo{ID: cl.name, Host: "/127.0.0.1"})
		h.mu.Lock()
		defer h.mu.Unlock()
		line := fmt.Sprintf("%s: join %s", cl.name, errName(resp.ErrorCode))
		switch resp.ErrorCode {
		case kerr.MemberIDRequired.Code:
			cl.memberID = resp.MemberID
			return line + " id=" + resp.MemberID
		case 0:
			cl.memberID, cl.generation, cl.protocol, cl.leads = resp.MemberID, resp.Generation, resp.Protocol, resp.LeaderID == resp.MemberID
		case kerr.UnknownMemberID.Code:
			cl.memberID = ""
			return line
		default:
			return line
		}
		line += fmt.Sprintf(" generation=%d protocol=%s id=%s leader=%s", resp.Generation, *resp.Protocol, resp.MemberID, resp.LeaderID)
		if resp.SkipAssignment {
			line += " skip-assignment"
		}
		for i, m := range resp.Members {
			sep := ","
			if i == 0 {
				sep = " members="
			}
			line += sep + m.MemberID
		}
		return line
	})
}

func (h *harness) sync(cl *client, group, protocolType string, version int16, assignments map[string]string) {
	req := kmsg.NewPtrSyncGroupRequest()
	req.Version, req.Group, req.Generation, req.MemberID, req.InstanceID = version, group, cl.generation, cl.memberID, cl.instanceID
	if version >= syncNamesProtocol {
		req.ProtocolType, req.Protocol = &protocolType, cl.protocol
	}
	for _, name := range slices.Sorted(maps.Keys(assignments)) {
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = h.client(name).memberID, []byte(assignments[name])
		req.GroupAssignment = append(req.GroupAssignment, a)
	}
	h.async(func() string {
		resp := h.c.SyncGroup(h.ctx(), req)
		h.mu.Lock()
		defer h.mu.Unlock()
		line := fmt.Sprintf("%s: sync %s", cl.name, errName(resp.ErrorCode))
		if resp.ErrorCode == 0 {
			cl.assignment = resp.MemberAssignment
			line += fmt.Sprintf(" assignment=%q", resp.MemberAssignment)
		}
		return line
	})
}

func (h *harness) heartbeat(cl *client, group string) {
	req := kmsg.NewPtrHeartbeatRequest()
	req.Version, req.Group, req.Generation, req.MemberID, req.InstanceID = 4, group, cl.generation, cl.memberID, cl.instanceID
	h.async(func() string {
		return fmt.Sprintf("%s: heartbeat %s", cl.name, errName(h.c.Heartbeat(h.ctx(), req).ErrorCode))
	})
}

func (h *harness) commit(req *kmsg.OffsetCommitRequest, name string) {
	h.async(func() string {
		resp := h.c.OffsetCommit(h.ctx(), req)
		codes := []string{}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				codes = append(codes, errName(p.ErrorCode))
			}
		}
		return fmt.Sprintf("%s: commit %s", name, strings.Join(codes, " "))
	})
}

func commitRequest(group, topic string, partition int32, offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.Generation = 9, group, -1
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.OffsetCommitRequestTopicPartition{p}
	req.Topics = []kmsg.OffsetCommitRequestTopic{t}
	return req
}

// view is a shard in a form that can be compared. A group in the middle of a
// rebalance is ahead of its record and only counts as being there.
func (s *shard) view(settled func(id string) bool) map[string]string {
	v := map[string]string{}
	for id, g := range s.groups {
		v["group "+id] = "there"
		if settled(id) {
			v["group "+id] = fmt.Sprintf("%s %q", g.stateName(), groupRecord(g.(*classicGroup)).Value)
		}
	}
	for id, topics := range s.offsets {
		for topic, partitions := range topics {
			for p, o := range partitions {
				v[fmt.Sprintf("offset %s %s-%d", id, topic, p)] = fmt.Sprint(o)
			}
		}
	}
	return v
}

func (s *shard) isSettled(id string) bool {
	g, ok := s.groups[id].(*classicGroup)
	return ok && (g.state == empty || g.state == stable)
}

// checkReplay compares the live state with what its log says.
func (h *harness) checkReplay() {
	h.t.Helper()
	for p := range h.config.Partitions {
		var live map[string]string
		var settled map[string]bool
		w, err := h.c.runtime.Submit(p, read(func(s *shard, _ time.Time, w *waiter) decision {
			settled = map[string]bool{}
			for id := range s.groups {
				settled[id] = s.isSettled(id)
			}
			live = s.view(func(id string) bool { return settled[id] })
			return answer(w, nil)
		}))
		if err != nil {
			h.t.Fatalf("look at partition %d: %v", p, err)
		}
		if _, err = w.Wait(h.t.Context()); err != nil {
			h.t.Fatalf("look at partition %d: %v", p, err)
		}
		replayed := replay(h.t, h.log, p).view(func(id string) bool { return settled[id] })
		if !maps.Equal(live, replayed) {
			h.t.Fatalf("partition %d: live state\n%v\nis not the replayed one\n%v", p, live, replayed)
		}
	}
}

func replay(t testing.TB, log *coordinatortest.MemLog, partition int32) *shard {
	t.Helper()
	records, err := log.Records(partition)
	if err != nil {
		t.Fatal(err)
	}
	s := newShard(DefaultConfig(), newMetrics(nil), nil)
	for _, r := range records {
		if err = s.Apply(r); err != nil {
			t.Fatalf("apply: %v", err)
		}
	}
	return s
}

var _ coordinator.Log = (*coordinatortest.MemLog)(nil)
