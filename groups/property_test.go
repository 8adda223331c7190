package groups

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/varvelog/varve/coordinator"
	"github.com/varvelog/varve/record"
)

// Clients do anything in any order, the log refuses writes, does not know, or
// fails over. At every moment the live state is what the log says, before and
// after compaction, and in the end everybody has got an answer (close waits for
// that).
func TestAnyHistoryIsWhatItsLogSays(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		draw := func(label string, n int) []int { return rapid.SliceOfN(rapid.IntRange(0, 999), n, 2*n).Draw(rt, label) }
		steps, choices, faults := draw("steps", 50), draw("choices", 50), draw("faults", 10)
		delay := rapid.SampledFrom([]time.Duration{0, 3 * time.Second}).Draw(rt, "delay")
		size := rapid.SampledFrom([]int{3, 100}).Draw(rt, "size")
		bubble(t, func(c *Config) {
			c.InitialRebalanceDelay, c.MaxSize = delay, size
			c.OffsetsRetention, c.RetentionCheckInterval = time.Minute, 15*time.Second
		}, func(h *harness) {
			appends := 0
			fault := func(kind int) bool { return faults[appends%len(faults)]%24 == kind }
			h.log.Before = func(context.Context, int32, record.Batch) error {
				h.mu.Lock()
				defer h.mu.Unlock()
				if appends++; fault(0) {
					return coordinator.ErrUnavailable
				}
				return nil
			}
			h.log.After = func(int32) error {
				h.mu.Lock()
				defer h.mu.Unlock()
				if fault(1) {
					return coordinator.ErrUncertain
				}
				return nil
			}
			for i, step := range steps {
				h.random(step, choices[i%len(choices)])
				h.settle()
				h.checkReplay()
			}
			h.log.Before, h.log.After = nil, nil
			h.checkCompacted()
		})
	})
}

// random does one thing; how often each, the numbers say.
func (h *harness) random(step, choice int) {
	group := []string{"g", "g", "g", "h"}[choice/4%4]
	cl := h.client(fmt.Sprint(group, choice%4))
	protocols := [][]string{{"range"}, {"range", "sticky"}, {"sticky", "range"}, {"range"}}[choice/16%4]
	if choice%4 == 3 {
		instance := "static"
		cl.instanceID = &instance
	}
	switch {
	case step < 400:
		h.mu.Lock()
		if choice%31 == 0 {
			cl.memberID = ""
		}
		h.mu.Unlock()
		h.join(cl, joinArgs{
			group: group, protocolType: "consumer", protocols: protocols, topics: []string{"t"},
			session: 10 * time.Second, rebalance: 15 * time.Second, version: int16(choice % 10),
		})
	case step < 650:
		// All of the group, or one.
		assignments := map[string]string{}
		for name := range h.clients {
			assignments[name] = name
		}
		for _, name := range slices.Sorted(maps.Keys(h.clients)) {
			if other := h.clients[name]; choice%5 != 0 && strings.HasPrefix(name, group) || other == cl {
				h.sync(other, group, "consumer", int16(choice%5), assignments)
			}
		}
	case step < 700:
		h.heartbeat(cl, group)
	case step < 760:
		req := commitRequest(group, []string{"t", "u"}[choice/7%2], int32(choice/14%2), int64(choice))
		req.Version = 9
		if choice%3 != 0 {
			req.MemberID, req.Generation, req.InstanceID = cl.memberID, cl.generation, cl.instanceID
		}
		h.commit(req, cl.name)
	case step < 800:
		req := kmsg.NewPtrLeaveGroupRequest()
		req.Version, req.Group = 4, group
		m := kmsg.NewLeaveGroupRequestMember()
		m.MemberID, m.InstanceID = cl.memberID, cl.instanceID
		req.Members = []kmsg.LeaveGroupRequestMember{m}
		h.async(func() string { return fmt.Sprint(h.c.LeaveGroup(h.ctx(), req).ErrorCode) })
	case step < 810:
		req := kmsg.NewPtrDeleteGroupsRequest()
		req.Groups = []string{group}
		h.async(func() string { return fmt.Sprint(h.c.DeleteGroups(h.ctx(), req).Groups[0].ErrorCode) })
	case step < 830:
		h.c.OnTopicsDeleted([]string{"t"})
	case step < 840:
		h.elect()
	default:
		time.Sleep(time.Duration(choice%8) * time.Second)
	}
}

// checkCompacted compares what the log says with what is left of it by
// compaction. A group without records of its own that has lost its offsets is
// not known from such a log; it is nothing that a sweep would keep.
func (h *harness) checkCompacted() {
	h.t.Helper()
	always := func(string) bool { return true }
	for p := range h.config.Partitions {
		full := replay(h.t, h.log, p)
		for id, g := range full.groups {
			if g.(*classicGroup).since < 0 && len(full.offsets[id]) == 0 {
				full.remove(id)
			}
		}
		if err := h.log.Compact(p, true); err != nil {
			h.t.Fatal(err)
		}
		if compacted := replay(h.t, h.log, p).view(always); !maps.Equal(full.view(always), compacted) {
			h.t.Fatalf("partition %d: the log says\n%v\nand compacted\n%v", p, full.view(always), compacted)
		}
		if err := h.log.Compact(p, false); err != nil {
			h.t.Fatal(err)
		}
		if compacted := replay(h.t, h.log, p).view(always); !maps.Equal(full.view(always), compacted) {
			h.t.Fatalf("partition %d: the log says\n%v\nand compacted without tombstones\n%v", p, full.view(always), compacted)
		}
	}
	synctest.Wait()
	h.elect()
	h.checkReplay()
}
