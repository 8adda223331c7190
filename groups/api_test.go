package groups

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator"
	"github.com/varvelog/varve/coordinator/coordinatortest"
	"github.com/varvelog/varve/record"
)

// bubble runs a test with a coordinator on virtual time.
func bubble(t *testing.T, change func(*Config), test func(*harness)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, change)
		defer h.close()
		test(h)
	})
}

func sampleJoin(version int16) *kmsg.JoinGroupRequest {
	r := kmsg.NewPtrJoinGroupRequest()
	r.Version, r.Group, r.ProtocolType, r.SessionTimeoutMillis, r.RebalanceTimeoutMillis = version, "g", "consumer", 10_000, 60_000
	p := kmsg.NewJoinGroupRequestProtocol()
	p.Name, p.Metadata = "range", []byte{1, 2, 3}
	r.Protocols = []kmsg.JoinGroupRequestProtocol{p}
	return r
}

func sampleFetch(version int16) *kmsg.OffsetFetchRequest {
	r := kmsg.NewPtrOffsetFetchRequest()
	r.Version, r.Group = version, "g"
	old := kmsg.NewOffsetFetchRequestTopic()
	old.Topic, old.Partitions = "t", []int32{0}
	r.Topics = []kmsg.OffsetFetchRequestTopic{old}
	ft := kmsg.NewOffsetFetchRequestGroupTopic()
	ft.Topic, ft.TopicID, ft.Partitions = "t", [16]byte{7}, []int32{0}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group, g.Topics = "g", []kmsg.OffsetFetchRequestGroupTopic{ft}
	r.Groups = []kmsg.OffsetFetchRequestGroup{g}
	return r
}

// requests is one request of every API, and what finds its error codes.
func requests() map[string]func(context.Context, *Coordinator) []int16 {
	return map[string]func(context.Context, *Coordinator) []int16{
		"JoinGroup": func(ctx context.Context, c *Coordinator) []int16 {
			return []int16{c.JoinGroup(ctx, sampleJoin(9), ClientInfo{}).ErrorCode}
		},
		"SyncGroup": func(ctx context.Context, c *Coordinator) []int16 {
			r := kmsg.NewPtrSyncGroupRequest()
			r.Group = "g"
			return []int16{c.SyncGroup(ctx, r).ErrorCode}
		},
		"Heartbeat": func(ctx context.Context, c *Coordinator) []int16 {
			r := kmsg.NewPtrHeartbeatRequest()
			r.Group = "g"
			return []int16{c.Heartbeat(ctx, r).ErrorCode}
		},
		"LeaveGroup": func(ctx context.Context, c *Coordinator) []int16 {
			r := kmsg.NewPtrLeaveGroupRequest()
			r.Group = "g"
			return []int16{c.LeaveGroup(ctx, r).ErrorCode}
		},
		"OffsetCommit": func(ctx context.Context, c *Coordinator) []int16 {
			return []int16{c.OffsetCommit(ctx, commitRequest("g", "t", 0, 1)).Topics[0].Partitions[0].ErrorCode}
		},
		"OffsetFetch": func(ctx context.Context, c *Coordinator) []int16 {
			return []int16{
				c.OffsetFetch(ctx, sampleFetch(8)).Groups[0].ErrorCode,
				c.OffsetFetch(ctx, sampleFetch(7)).ErrorCode,
				c.OffsetFetch(ctx, sampleFetch(1)).Topics[0].Partitions[0].ErrorCode,
			}
		},
		"DescribeGroups": func(ctx context.Context, c *Coordinator) []int16 {
			r := kmsg.NewPtrDescribeGroupsRequest()
			r.Groups = []string{"g"}
			return []int16{c.DescribeGroups(ctx, r).Groups[0].ErrorCode}
		},
		"DeleteGroups": func(ctx context.Context, c *Coordinator) []int16 {
			r := kmsg.NewPtrDeleteGroupsRequest()
			r.Groups = []string{"g"}
			return []int16{c.DeleteGroups(ctx, r).Groups[0].ErrorCode}
		},
		"ListGroups": func(ctx context.Context, c *Coordinator) []int16 {
			return []int16{c.ListGroups(ctx, kmsg.NewPtrListGroupsRequest()).ErrorCode}
		},
	}
}

func expectCodes(t *testing.T, h *harness, want int16, except map[string]int16) {
	t.Helper()
	for name, do := range requests() {
		expected := want
		if code, ok := except[name]; ok {
			expected = code
		}
		for i, code := range do(t.Context(), h.c) {
			if code != expected {
				t.Errorf("%s, %d: got %s, want %s", name, i, errName(code), errName(expected))
			}
		}
	}
}

// stalledLog never finishes loading.
type stalledLog struct{ coordinatortest.MemLog }

func (l *stalledLog) Load(ctx context.Context, _ int32, _ func(record.Batch) error) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func TestCodesOfAPartitionThatIsNotThere(t *testing.T) {
	bubble(t, nil, func(h *harness) {
		t := h.t
		for p := range h.config.Partitions {
			h.c.OnResigned(p)
		}
		expectCodes(t, h, kerr.NotCoordinator.Code, map[string]int16{"ListGroups": 0})
		h.c.Close()
		expectCodes(t, h, kerr.CoordinatorNotAvailable.Code, map[string]int16{"ListGroups": 0, "OffsetFetch": kerr.NotCoordinator.Code})
	})
}

func TestCodesWhileLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &harness{t: t, config: DefaultConfig()}
		h.c = New(Options{Log: &stalledLog{}, Config: h.config})
		defer h.c.Close()
		for p := range h.config.Partitions {
			h.c.OnElected(p, 1)
		}
		expectCodes(t, h, kerr.CoordinatorLoadInProgress.Code, map[string]int16{"Heartbeat": 0})
	})
}

func TestCodesOfTheLogsErrors(t *testing.T) {
	for _, c := range []struct {
		err  error
		want *kerr.Error
	}{
		{coordinator.ErrNotCoordinator, kerr.NotCoordinator},
		{coordinator.ErrUncertain, kerr.NotCoordinator},
		{coordinator.ErrUnavailable, kerr.CoordinatorNotAvailable},
		{coordinator.ErrRecordTooLarge, kerr.UnknownServerError},
		{errors.New("the roof is on fire"), kerr.UnknownServerError},
	} {
		bubble(t, nil, func(h *harness) {
			t := h.t
			h.log.Before = func(context.Context, int32, record.Batch) error { return fmt.Errorf("append: %w", c.err) }
			if got := h.c.OffsetCommit(t.Context(), commitRequest("g", "t", 0, 1)).Topics[0].Partitions[0].ErrorCode; got != c.want.Code {
				t.Errorf("%v: commit answers %s, want %s", c.err, errName(got), c.want.Message)
			}
			synctest.Wait()
			if got := h.c.JoinGroup(t.Context(), sampleJoin(9), ClientInfo{}).ErrorCode; got != c.want.Code {
				t.Errorf("%v: join answers %s, want %s", c.err, errName(got), c.want.Message)
			}
			synctest.Wait()
			list := kmsg.NewPtrListGroupsRequest()
			if groups := h.c.ListGroups(t.Context(), list).Groups; len(groups) != 0 {
				t.Errorf("%v: there is a group that has not been written", c.err)
			}
		})
	}
}

// Every version of every API, as it comes from the wire and goes there.
func TestAllVersions(t *testing.T) {
	type call func(h *harness, ctx context.Context, req kmsg.Request) kmsg.Response
	for _, api := range []struct {
		min, max int16
		make     func(version int16) kmsg.Request
		call     call
		// check finds what is wrong.
		check func(version int16, resp kmsg.Response) bool
	}{
		{
			0, 9, func(v int16) kmsg.Request { return sampleJoin(v) },
			func(h *harness, ctx context.Context, req kmsg.Request) kmsg.Response {
				return h.c.JoinGroup(ctx, req.(*kmsg.JoinGroupRequest), ClientInfo{ID: "c", Host: "/h"})
			},
			func(v int16, resp kmsg.Response) bool {
				r := resp.(*kmsg.JoinGroupResponse)
				if v >= joinMemberIDRequired {
					return r.ErrorCode == kerr.MemberIDRequired.Code && r.MemberID != "" && r.Generation == -1
				}
				return r.ErrorCode == 0 && r.MemberID == r.LeaderID && len(r.Members) == 1 && r.Generation == 1
			},
		},
		{
			0, 5, func(v int16) kmsg.Request {
				r := kmsg.NewPtrSyncGroupRequest()
				r.Group, r.Protocol, r.ProtocolType = "g", new("range"), new("consumer")
				return r
			},
			func(h *harness, ctx context.Context, req kmsg.Request) kmsg.Response {
				return h.c.SyncGroup(ctx, req.(*kmsg.SyncGroupRequest))
			},
			func(_ int16, resp kmsg.Response) bool {
				return resp.(*kmsg.SyncGroupResponse).ErrorCode == kerr.UnknownMemberID.Code
			},
		},
		{
			0, 4, func(int16) kmsg.Request { r := kmsg.NewPtrHeartbeatRequest(); r.Group = "g"; return r },
			func(h *harness, ctx context.Context, req kmsg.Request) kmsg.Response {
				return h.c.Heartbeat(ctx, req.(*kmsg.HeartbeatRequest))
			},
			func(_ int16, resp kmsg.Response) bool {
				return resp.(*kmsg.HeartbeatResponse).ErrorCode == kerr.UnknownMemberID.Code
			},
		},
		{
			0, 5, func(v int16) kmsg.Request {
				r := kmsg.NewPtrLeaveGroupRequest()
				r.Group, r.MemberID = "g", "m"
				m := kmsg.NewLeaveGroupRequestMember()
				m.MemberID = "m"
				r.Members = []kmsg.LeaveGroupRequestMember{m}
				return r
			},
			func(h *harness, ctx context.Context, req kmsg.Request) kmsg.Response {
				return h.c.LeaveGroup(ctx, req.(*kmsg.LeaveGroupRequest))
			},
			func(v int16, resp kmsg.Response) bool {
				r := resp.(*kmsg.LeaveGroupResponse)
				if v < leaveBatched {
					return r.ErrorCode == kerr.UnknownMemberID.Code
				}
				return r.ErrorCode == 0 && r.Members[0].ErrorCode == kerr.UnknownMemberID.Code
			},
		},
		{
			2, 10, func(v int16) kmsg.Request { return commitRequest("g", "t", 0, 5) },
			func(h *harness, ctx context.Context, req kmsg.Request) kmsg.Response {
				r := req.(*kmsg.OffsetCommitRequest)
				r.Topics[0].Topic = "t" // v10 has an id, which the broker turns into the name
				return h.c.OffsetCommit(ctx, r)
			},
			func(_ int16, resp kmsg.Response) bool {
				return resp.(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode == 0
			},
		},
		{
			1, 10, func(v int16) kmsg.Request { return sampleFetch(v) },
			func(h *harness, ctx context.Context, req kmsg.Request) kmsg.Response {
				r := req.(*kmsg.OffsetFetchRequest)
				for i := range r.Groups {
					r.Groups[i].Topics[0].Topic = "t"
				}
				h.c.OffsetCommit(ctx, commitRequest("g", "t", 0, 5))
				return h.c.OffsetFetch(ctx, r)
			},
			func(v int16, resp kmsg.Response) bool {
				r := resp.(*kmsg.OffsetFetchResponse)
				if v < fetchManyGroups {
					return r.ErrorCode == 0 && r.Topics[0].Topic == "t" && r.Topics[0].Partitions[0].Offset == 5
				}
				ft := r.Groups[0].Topics[0]
				return r.Groups[0].Group == "g" && ft.Partitions[0].Offset == 5 && (v < 10 || ft.TopicID == [16]byte{7})
			},
		},
		{
			2, 9, func(v int16) kmsg.Request { // all topics
				r := sampleFetch(v)
				r.Topics, r.Groups[0].Topics = nil, nil
				return r
			},
			func(h *harness, ctx context.Context, req kmsg.Request) kmsg.Response {
				h.c.OffsetCommit(ctx, commitRequest("g", "t", 3, 5))
				return h.c.OffsetFetch(ctx, req.(*kmsg.OffsetFetchRequest))
			},
			func(v int16, resp kmsg.Response) bool {
				r := resp.(*kmsg.OffsetFetchResponse)
				if v < fetchManyGroups {
					return r.ErrorCode == 0 && r.Topics[0].Topic == "t" && r.Topics[0].Partitions[0].Partition == 3
				}
				return r.Groups[0].Topics[0].Topic == "t" && r.Groups[0].Topics[0].Partitions[0].Offset == 5
			},
		},
		{
			0, 6, func(int16) kmsg.Request {
				r := kmsg.NewPtrDescribeGroupsRequest()
				r.Groups = []string{"g"}
				return r
			},
			func(h *harness, ctx context.Context, req kmsg.Request) kmsg.Response {
				return h.c.DescribeGroups(ctx, req.(*kmsg.DescribeGroupsRequest))
			},
			func(v int16, resp kmsg.Response) bool {
				g := resp.(*kmsg.DescribeGroupsResponse).Groups[0]
				return g.Group == "g" && g.State == "Dead" && (g.ErrorCode == kerr.GroupIDNotFound.Code) == (v >= 6) && (g.ErrorMessage != nil) == (v >= 6)
			},
		},
		{
			0, 5, func(int16) kmsg.Request { return kmsg.NewPtrListGroupsRequest() },
			func(h *harness, ctx context.Context, req kmsg.Request) kmsg.Response {
				h.c.OffsetCommit(ctx, commitRequest("g", "t", 0, 5))
				return h.c.ListGroups(ctx, req.(*kmsg.ListGroupsRequest))
			},
			func(v int16, resp kmsg.Response) bool {
				r := resp.(*kmsg.ListGroupsResponse)
				return len(r.Groups) == 1 && r.Groups[0].Group == "g" && (r.Groups[0].GroupState == "Empty") == (v >= 4) && (r.Groups[0].GroupType == "classic") == (v >= 5)
			},
		},
		{
			0, 2, func(int16) kmsg.Request {
				r := kmsg.NewPtrDeleteGroupsRequest()
				r.Groups = []string{"g"}
				return r
			},
			func(h *harness, ctx context.Context, req kmsg.Request) kmsg.Response {
				return h.c.DeleteGroups(ctx, req.(*kmsg.DeleteGroupsRequest))
			},
			func(_ int16, resp kmsg.Response) bool {
				return resp.(*kmsg.DeleteGroupsResponse).Groups[0].ErrorCode == kerr.GroupIDNotFound.Code
			},
		},
	} {
		for v := api.min; v <= api.max; v++ {
			bubble(t, nil, func(h *harness) {
				t := h.t
				sent := api.make(v)
				sent.SetVersion(v)
				name := fmt.Sprintf("%T v%d", sent, v)
				received := kmsg.RequestForKey(sent.Key())
				received.SetVersion(v)
				if err := received.ReadFrom(sent.AppendTo(nil)); err != nil {
					t.Fatalf("%s: request: %v", name, err)
				}
				resp := api.call(h, t.Context(), received)
				if resp.GetVersion() != v {
					t.Errorf("%s: response has version %d", name, resp.GetVersion())
				}
				got := kmsg.ResponseForKey(sent.Key())
				got.SetVersion(v)
				if err := got.ReadFrom(resp.AppendTo(nil)); err != nil {
					t.Fatalf("%s: response: %v", name, err)
				}
				if !api.check(v, got) {
					t.Errorf("%s: wrong response %+v", name, got)
				}
			})
		}
	}
}

func TestOffsetFetchOfSeveralGroups(t *testing.T) {
	bubble(t, nil, func(h *harness) {
		t := h.t
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Version = 9
		var lost string
		for i := range 8 {
			id := fmt.Sprint("group-", i)
			if h.c.PartitionFor(id) == 1 {
				lost = id
			}
			h.c.OffsetCommit(t.Context(), commitRequest(id, "t", 0, int64(i)))
			g := kmsg.NewOffsetFetchRequestGroup()
			g.Group = id
			req.Groups = append(req.Groups, g)
		}
		h.c.OnResigned(1)
		resp := h.c.OffsetFetch(t.Context(), req)
		for i, g := range resp.Groups {
			switch {
			case g.Group != req.Groups[i].Group:
				t.Errorf("group %d is %q", i, g.Group)
			case h.c.PartitionFor(g.Group) == 1:
				if g.ErrorCode != kerr.NotCoordinator.Code || len(g.Topics) != 0 {
					t.Errorf("group %q is coordinated elsewhere: got %+v", g.Group, g)
				}
			case g.ErrorCode != 0 || g.Topics[0].Partitions[0].Offset != int64(i):
				t.Errorf("group %q: got %+v", g.Group, g)
			}
		}
		if lost == "" {
			t.Error("no group was in partition 1")
		}
	})
}

// RequireStable waits for a commit that is under way; a plain fetch does not.
func TestStableFetchWaitsForCommits(t *testing.T) {
	bubble(t, nil, func(h *harness) {
		t := h.t
		gate := make(chan struct{})
		h.log.Before = func(context.Context, int32, record.Batch) error {
			<-gate
			return nil
		}
		h.commit(commitRequest("g", "t", 0, 5), "c")
		synctest.Wait()
		fetch := sampleFetch(9)
		if got := h.c.OffsetFetch(t.Context(), fetch).Groups[0].Topics[0].Partitions[0].Offset; got != -1 {
			t.Errorf("an offset is visible before it is committed: %d", got)
		}
		stable := sampleFetch(9)
		stable.RequireStable = true
		h.async(func() string {
			return fmt.Sprint("stable fetch: ", h.c.OffsetFetch(t.Context(), stable).Groups[0].Topics[0].Partitions[0].Offset)
		})
		if got := h.settle(); got != "" {
			t.Errorf("answered too early: %s", got)
		}
		close(gate)
		if got := h.settle(); got != "c: commit ok\nstable fetch: 5" {
			t.Errorf("got %q", got)
		}
	})
}

// A client that goes away while it waits stays in the group until its session is over.
func TestLostConnectionLeavesTheMember(t *testing.T) {
	bubble(t, nil, func(h *harness) {
		t := h.t
		ctx, hangUp := context.WithCancel(t.Context())
		got := make(chan int16, 1)
		go func() { got <- h.c.JoinGroup(ctx, sampleJoin(3), ClientInfo{ID: "gone"}).ErrorCode }()
		synctest.Wait()
		hangUp()
		if code := <-got; code == 0 {
			t.Error("the join that was canceled succeeded")
		}
		h.join(h.client("c"), joinArgs{group: "g", protocolType: "consumer", protocols: []string{"range"}, session: 10 * time.Second, rebalance: time.Minute, version: 3})
		h.settle()
		time.Sleep(6 * time.Second)
		if got := h.settle(); got != "c: join ok generation=1 protocol=range id=c-2 leader=gone-1" {
			t.Errorf("got %q", got)
		}
		time.Sleep(5 * time.Second)
		h.heartbeat(h.client("c"), "g")
		h.settle()
		time.Sleep(6 * time.Second)
		h.heartbeat(h.client("c"), "g")
		if got := h.settle(); got != "c: heartbeat REBALANCE_IN_PROGRESS" {
			t.Errorf("after the session of who is gone: %q", got)
		}
		h.checkReplay()
	})
}

// The bytes of a request belong to the connection, which uses them again.
func TestBytesOfRequestsAreCopied(t *testing.T) {
	bubble(t, func(c *Config) { c.InitialRebalanceDelay = 0 }, func(h *harness) {
		t := h.t
		join := sampleJoin(3)
		resp := h.c.JoinGroup(t.Context(), join, ClientInfo{ID: "c"})
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Version, sync.Group, sync.MemberID, sync.Generation = 4, "g", resp.MemberID, resp.Generation
		a := kmsg.NewSyncGroupRequestGroupAssignment()
		a.MemberID, a.MemberAssignment = resp.MemberID, []byte("assignment")
		sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{a}
		h.c.SyncGroup(t.Context(), sync)
		clear(join.Protocols[0].Metadata)
		clear(a.MemberAssignment)
		describe := kmsg.NewPtrDescribeGroupsRequest()
		describe.Groups = []string{"g"}
		m := h.c.DescribeGroups(t.Context(), describe).Groups[0].Members[0]
		if !slices.Equal(m.ProtocolMetadata, []byte{1, 2, 3}) || string(m.MemberAssignment) != "assignment" {
			t.Errorf("kept %q and %q", m.ProtocolMetadata, m.MemberAssignment)
		}
	})
}

// A group that has more members than are allowed now, after a failover to a
// broker with another configuration.
func TestLoadedGroupOverCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		name := "range"
		g := newClassicGroup("g", 0)
		g.protocolType, g.generation, g.protocol = "consumer", 1, &name
		for i := range 3 {
			g.add(&member{
				id: fmt.Sprint("m", i), rebalanceTimeout: 10 * time.Second, sessionTimeout: time.Minute,
				protocols: []protocol{{name: name}},
			})
		}
		b := record.Builder{}
		r := groupRecord(g)
		b.Append(0, r.Key, r.Value)
		batch, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		config := DefaultConfig()
		config.Partitions, config.MaxSize = 1, 2
		log := &coordinatortest.MemLog{}
		if _, err = log.Append(t.Context(), 0, batch); err != nil {
			t.Fatal(err)
		}
		log.SetEpoch(0, 1)
		h := &harness{t: t, log: log, config: config, clients: map[string]*client{}, c: New(Options{Log: log, Config: config}), ctx: t.Context, stop: func() {}}
		h.c.OnElected(0, 1)
		defer h.close()
		synctest.Wait()
		for i := range 3 {
			cl := h.client(fmt.Sprint("m", i))
			cl.memberID, cl.generation = cl.name, 1
			h.heartbeat(cl, "g")
		}
		if got := h.settle(); got != "m0: heartbeat REBALANCE_IN_PROGRESS\nm1: heartbeat REBALANCE_IN_PROGRESS\nm2: heartbeat REBALANCE_IN_PROGRESS" {
			t.Errorf("got %s", got)
		}
		args := joinArgs{group: "g", protocolType: "consumer", protocols: []string{"range"}, session: time.Minute, rebalance: 10 * time.Second, version: 9}
		h.join(h.client("m1"), args)
		h.settle()
		h.join(h.client("m2"), args)
		h.settle()
		h.join(h.client("m0"), args)
		if got := h.settle(); got != "m0: join GROUP_MAX_SIZE_REACHED\n"+
			"m1: join ok generation=2 protocol=range id=m1 leader=m1 members=m1,m2\nm2: join ok generation=2 protocol=range id=m2 leader=m1" {
			t.Errorf("got %s", got)
		}
	})
}

func TestMemberIDsAreUUIDs(t *testing.T) {
	a, b := randomUUID(), randomUUID()
	if a == b || len(a) != 36 || a[14] != '4' {
		t.Errorf("%q and %q", a, b)
	}
}
