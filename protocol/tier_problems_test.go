package protocol

import (
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestTierProblemsSurviveTheWire(t *testing.T) {
	want := []TierProblem{
		{Kind: "damage", Object: "tier/x/7/0.segment", Count: 1, Since: 1_700_000_000_000, Text: "it is \"missing\"\n"},
		{Kind: "upload", Since: 5, Text: "no bucket"},
	}
	var tags kmsg.Tags
	TierStats{LastUpload: -1}.Tags(&tags)
	TagTierProblems(&tags, want)
	if got := ReadTierProblems(&tags); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, ok := ReadTierStats(&tags); !ok {
		t.Error("problems hide the statistics")
	}
	var none kmsg.Tags
	TagTierProblems(&none, nil)
	if none.Len() != 0 || ReadTierProblems(&none) != nil {
		t.Error("no problems have a field")
	}
	none.Set(tagTierProblems, []byte("{not json"))
	if got := ReadTierProblems(&none); got != nil {
		t.Errorf("of nonsense: %+v", got)
	}
}

// A partition with many problems must not make the response as large as its log.
func TestTierProblemsAreBounded(t *testing.T) {
	var tags kmsg.Tags
	many := slices.Repeat([]TierProblem{{Kind: "damage", Text: strings.Repeat("x", 10_000)}}, 100)
	TagTierProblems(&tags, many)
	got := ReadTierProblems(&tags)
	if len(got) != maxTierProblems || len(got[0].Text) != maxTierProblemText || len(many[0].Text) != 10_000 {
		t.Errorf("%d problems, the first of %d bytes", len(got), len(got[0].Text))
	}
}
