package groups

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator"
	"github.com/varvelog/varve/record"
)

// Scripts in testdata play clients against a coordinator on virtual time. After
// every step the live state is compared with what the log says.
//
//	config [delay=] [size=] [retention=] [sweep=] [metadata=]   before anything else
//	join CLIENT [group=g] [protocols=(range)] [topics=(t)] [session=10s] [rebalance=60s] [instance=] [version=9] [type=consumer] [member=]
//	sync CLIENT [assign=(c1:x,c2:y)] [version=5] [type=consumer]
//	heartbeat CLIENT · leave CLIENT… [version=5] [instance=] · commit [client=] [topic=t] [partition=0] [offset=] … · fetch [all]
//	advance DURATION · describe · list · delete · failover · topic-deleted NAME · refuse/accept (the log's appends) · records
//
// CLIENT remembers the member id, generation and protocol that it was told. An
// answer is printed at the step after which it came.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			s := &script{}
			defer func() {
				if s.harness != nil {
					s.close()
				}
			}()
			datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
				t.Helper()
				return s.step(t, d)
			})
		})
	})
}

func refuseAll(context.Context, int32, record.Batch) error { return coordinator.ErrUnavailable }

type script struct {
	*harness
	printed map[int32]int
}

func (s *script) step(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	if s.harness == nil {
		s.harness = newHarness(t, func(c *Config) {
			if d.Cmd == "config" {
				configure(t, d, c)
			}
		})
		s.printed = map[int32]int{}
	}
	s.t = t
	out := s.command(t, d)
	if answers := s.settle(); answers != "" {
		out += answers + "\n"
	}
	s.checkReplay()
	if out == "" {
		return "(nothing)\n"
	}
	return out
}

func configure(t *testing.T, d *datadriven.TestData, c *Config) {
	t.Helper()
	c.InitialRebalanceDelay = duration(t, d, "delay", c.InitialRebalanceDelay)
	c.OffsetsRetention = duration(t, d, "retention", c.OffsetsRetention)
	c.RetentionCheckInterval = duration(t, d, "sweep", c.RetentionCheckInterval)
	d.MaybeScanArgs(t, "size", &c.MaxSize)
	d.MaybeScanArgs(t, "metadata", &c.MaxMetadataSize)
}

func duration(t *testing.T, d *datadriven.TestData, key string, fallback time.Duration) time.Duration {
	t.Helper()
	var text string
	if !d.MaybeScanArgs(t, key, &text) {
		return fallback
	}
	parsed, err := time.ParseDuration(text)
	if err != nil {
		d.Fatalf(t, "%s: %v", key, err)
	}
	return parsed
}

func text(t *testing.T, d *datadriven.TestData, key, fallback string) string {
	t.Helper()
	if arg, ok := d.Arg(key); ok {
		return strings.Join(arg.Vals, "")
	}
	return fallback
}

func number(t *testing.T, d *datadriven.TestData, key string, fallback int64) int64 {
	t.Helper()
	d.MaybeScanArgs(t, key, &fallback)
	return fallback
}

func values(d *datadriven.TestData, key string, fallback ...string) []string {
	if arg, ok := d.Arg(key); ok {
		return slices.DeleteFunc(arg.Vals, func(v string) bool { return v == "" })
	}
	return fallback
}

// names are the arguments without a value.
func names(d *datadriven.TestData) []string {
	list := make([]string, 0, len(d.CmdArgs))
	for _, a := range d.CmdArgs {
		if len(a.Vals) == 0 {
			list = append(list, a.Key)
		}
	}
	return list
}

func (s *script) command(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	group := text(t, d, "group", "g")
	switch d.Cmd {
	case "config":
	case "join":
		cl := s.scripted(t, d)
		s.join(cl, joinArgs{
			group: group, protocolType: text(t, d, "type", "consumer"), protocols: values(d, "protocols", "range"), topics: values(d, "topics", "t"),
			session: duration(t, d, "session", 10*time.Second), rebalance: duration(t, d, "rebalance", time.Minute),
			version: int16(number(t, d, "version", 9)),
		})
	case "sync":
		var assignments map[string]string
		for _, a := range values(d, "assign") {
			name, value, _ := strings.Cut(a, ":")
			if assignments == nil {
				assignments = map[string]string{}
			}
			assignments[name] = value
		}
		s.sync(s.scripted(t, d), group, text(t, d, "type", "consumer"), int16(number(t, d, "version", 5)), assignments)
	case "heartbeat":
		s.heartbeat(s.scripted(t, d), group)
	case "leave":
		s.leave(t, d, group)
	case "commit":
		s.commitCommand(t, d, group)
	case "fetch":
		s.fetchCommand(d, group)
	case "advance":
		for _, name := range names(d) {
			by, err := time.ParseDuration(name)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			time.Sleep(by)
		}
	case "failover":
		s.elect()
	case "topic-deleted":
		s.c.OnTopicsDeleted(names(d))
	case "refuse":
		s.log.Before = refuseAll
	case "accept":
		s.log.Before = nil
	default:
		return s.administer(t, d, group)
	}
	return ""
}

// scripted is the client that a step is about, with what the step says of it.
func (s *script) scripted(t *testing.T, d *datadriven.TestData) *client {
	t.Helper()
	list := names(d)
	if len(list) != 1 {
		d.Fatalf(t, "want one client, got %q", list)
	}
	cl := s.client(list[0])
	if arg, ok := d.Arg("member"); ok {
		cl.memberID = strings.Join(arg.Vals, "")
	}
	if arg, ok := d.Arg("instance"); ok {
		instance := strings.Join(arg.Vals, "")
		cl.instanceID = &instance
	}
	cl.generation = int32(number(t, d, "generation", int64(cl.generation)))
	return cl
}

func (s *script) leave(t *testing.T, d *datadriven.TestData, group string) {
	t.Helper()
	req := kmsg.NewPtrLeaveGroupRequest()
	req.Version, req.Group = int16(number(t, d, "version", 5)), group
	for _, name := range names(d) {
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID, m.InstanceID = s.client(name).memberID, s.client(name).instanceID
		req.Members = append(req.Members, m)
		req.MemberID = m.MemberID
	}
	for _, instance := range values(d, "instance") {
		m := kmsg.NewLeaveGroupRequestMember()
		m.InstanceID = &instance
		req.Members = append(req.Members, m)
	}
	s.async(func() string {
		resp := s.c.LeaveGroup(s.ctx(), req)
		var line strings.Builder
		line.WriteString("leave " + errName(resp.ErrorCode))
		for _, m := range resp.Members {
			id := m.MemberID
			if m.InstanceID != nil {
				id += "/" + *m.InstanceID
			}
			fmt.Fprintf(&line, " %s=%s", id, errName(m.ErrorCode))
		}
		return line.String()
	})
}

func (s *script) commitCommand(t *testing.T, d *datadriven.TestData, group string) {
	t.Helper()
	req := commitRequest(group, text(t, d, "topic", "t"), int32(number(t, d, "partition", 0)), number(t, d, "offset", 0))
	req.Version = int16(number(t, d, "version", 9))
	p := &req.Topics[0].Partitions[0]
	p.LeaderEpoch = int32(number(t, d, "epoch", -1))
	if _, ok := d.Arg("text"); ok {
		p.Metadata = new(text(t, d, "text", ""))
	}
	req.RetentionTimeMillis = -1
	if keep := duration(t, d, "keep", -1); keep >= 0 {
		req.RetentionTimeMillis = keep.Milliseconds()
	}
	name := "-"
	if d.HasArg("client") {
		cl := s.client(text(t, d, "client", ""))
		name = cl.name
		req.MemberID, req.Generation, req.InstanceID = cl.memberID, cl.generation, cl.instanceID
	}
	req.MemberID = text(t, d, "member", req.MemberID)
	req.Generation = int32(number(t, d, "generation", int64(req.Generation)))
	s.commit(req, name)
}

func (s *script) fetchCommand(d *datadriven.TestData, group string) {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version = 9
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	for _, topic := range values(d, "topics") {
		ft := kmsg.NewOffsetFetchRequestGroupTopic()
		ft.Topic, ft.Partitions = topic, []int32{0}
		g.Topics = append(g.Topics, ft)
	}
	req.Groups = []kmsg.OffsetFetchRequestGroup{g}
	req.RequireStable = d.HasArg("stable")
	s.async(func() string {
		resp := s.c.OffsetFetch(s.ctx(), req).Groups[0]
		var line strings.Builder
		line.WriteString("fetch " + errName(resp.ErrorCode))
		for _, ft := range resp.Topics {
			for _, p := range ft.Partitions {
				fmt.Fprintf(&line, " %s-%d=%d/%d", ft.Topic, p.Partition, p.Offset, p.LeaderEpoch)
				if p.Metadata != nil && *p.Metadata != "" {
					fmt.Fprintf(&line, "%q", *p.Metadata)
				}
			}
		}
		return line.String()
	})
}

func (s *script) administer(t *testing.T, d *datadriven.TestData, group string) string {
	t.Helper()
	var out strings.Builder
	switch d.Cmd {
	case "describe":
		req := kmsg.NewPtrDescribeGroupsRequest()
		req.Version, req.Groups = int16(number(t, d, "version", 6)), []string{group}
		g := s.c.DescribeGroups(s.ctx(), req).Groups[0]
		fmt.Fprintf(&out, "%s: %s %s type=%q protocol=%q", g.Group, errName(g.ErrorCode), g.State, g.ProtocolType, g.Protocol)
		if g.ErrorMessage != nil {
			fmt.Fprintf(&out, " message=%q", *g.ErrorMessage)
		}
		out.WriteString("\n")
		for _, m := range g.Members {
			fmt.Fprintf(&out, "  %s client=%s host=%s assignment=%q metadata=%d bytes", m.MemberID, m.ClientID, m.ClientHost, m.MemberAssignment, len(m.ProtocolMetadata))
			if m.InstanceID != nil {
				fmt.Fprintf(&out, " instance=%s", *m.InstanceID)
			}
			out.WriteString("\n")
		}
	case "list":
		req := kmsg.NewPtrListGroupsRequest()
		req.Version, req.StatesFilter, req.TypesFilter = 5, values(d, "states"), values(d, "types")
		resp := s.c.ListGroups(s.ctx(), req)
		fmt.Fprintf(&out, "list %s\n", errName(resp.ErrorCode))
		for _, g := range resp.Groups {
			fmt.Fprintf(&out, "  %s %s %s type=%q\n", g.Group, g.GroupState, g.GroupType, g.ProtocolType)
		}
	case "delete":
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Version, req.Groups = 2, names(d)
		for _, g := range s.c.DeleteGroups(s.ctx(), req).Groups {
			fmt.Fprintf(&out, "delete %s: %s\n", g.Group, errName(g.ErrorCode))
		}
	case "records":
		s.print(t, &out)
	default:
		d.Fatalf(t, "unknown command %q", d.Cmd)
	}
	return out.String()
}

// print shows the records that were written since the last time.
func (s *script) print(t *testing.T, out *strings.Builder) {
	t.Helper()
	for p := range s.config.Partitions {
		records, err := s.log.Records(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records[s.printed[p]:] {
			fmt.Fprintf(out, "%s\n", describeRecord(t, r))
		}
		s.printed[p] = len(records)
	}
}

func describeRecord(t *testing.T, r coordinator.Record) string {
	t.Helper()
	if r.Key[1] == keyGroup {
		var k kmsg.GroupMetadataKey
		var v kmsg.GroupMetadataValue
		if err := k.ReadFrom(r.Key); err != nil {
			t.Fatal(err)
		}
		if r.Value == nil {
			return fmt.Sprintf("group %s deleted", k.Group)
		}
		if err := v.ReadFrom(r.Value); err != nil {
			t.Fatal(err)
		}
		var line strings.Builder
		fmt.Fprintf(&line, "group %s version=%d generation=%d type=%q", k.Group, v.Version, v.Generation, v.ProtocolType)
		if v.Protocol != nil && v.Leader != nil {
			fmt.Fprintf(&line, " protocol=%s leader=%s", *v.Protocol, *v.Leader)
		}
		for _, m := range v.Members {
			fmt.Fprintf(&line, " %s=%q", m.MemberID, m.Assignment)
		}
		return line.String()
	}
	var k kmsg.OffsetCommitKey
	var v kmsg.OffsetCommitValue
	if err := k.ReadFrom(r.Key); err != nil {
		t.Fatal(err)
	}
	if r.Value == nil {
		return fmt.Sprintf("offset %s %s-%d deleted", k.Group, k.Topic, k.Partition)
	}
	if err := v.ReadFrom(r.Value); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("offset %s %s-%d version=%d offset=%d epoch=%d", k.Group, k.Topic, k.Partition, v.Version, v.Offset, v.LeaderEpoch)
}
