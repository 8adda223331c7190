package broker

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/protocol"
	"github.com/varvelog/varve/tiering"
	"github.com/varvelog/varve/vfs"
)

// TestDescribeLogDirsTellsOfTheBucket: a request that names no partition gets the bucket's problems
// too.
func TestDescribeLogDirsTellsOfTheBucket(t *testing.T) {
	c := newDataCluster(t, vfs.NewMem())
	c.bucketProblems = func() []tiering.Problem {
		return []tiering.Problem{{Kind: tiering.ProblemOrphans, Object: "x", Count: 2, Since: time.UnixMilli(7), Err: errors.New("why")}}
	}
	for version := int16(1); version <= 5; version++ {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.SetVersion(version)
		req.Topics = []kmsg.DescribeLogDirsRequestTopic{}
		resp := c.exchange(&Request{}, req).(*kmsg.DescribeLogDirsResponse)
		want := protocol.TierProblem{Kind: "orphans", Object: "x", Count: 2, Since: 7, Text: "why"}
		if got := protocol.ReadTierProblems(&resp.UnknownTags); version >= 2 && (len(got) != 1 || got[0] != want) || version < 2 && got != nil {
			t.Errorf("v%d: %+v", version, got)
		}
	}
}
