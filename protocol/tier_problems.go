package protocol

import (
	"encoding/json"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// tagTierProblems is a tagged field as those of TierStats: a JSON array of TierProblem. It is
// not there when there is none.
const tagTierProblems = 10005

const (
	// maxTierProblems bounds how many problems a partition's field has.
	maxTierProblems = 8
	// maxTierProblemText bounds the text of each, in bytes.
	maxTierProblemText = 500
)

// TierProblem is something that keeps a partition's remote tier from working, or from being
// read, as the broker sees it that has the replica. In the tagged fields of the response as a whole
// it is about the bucket. Fields may be added.
type TierProblem struct {
	// Kind is "damage" (an object is missing or not what was uploaded), "undeletable" (objects
	// cannot be deleted), or what fails: "attach", "upload", "expire", "sweep", "delete". Of the bucket
	// it is "orphans" (Count topics are unknown) or "suspect" (and the bucket's catalogue has them).
	Kind   string `json:"kind"`
	Object string `json:"object,omitempty"` // its key in the bucket
	Count  int    `json:"count,omitempty"`  // of such objects
	Since  int64  `json:"since_ms"`         // unix ms
	Text   string `json:"text"`
}

// TagTierProblems puts the problems into a partition's tagged fields: the first ones, if they
// are many.
func TagTierProblems(tags *kmsg.Tags, problems []TierProblem) {
	if len(problems) == 0 {
		return
	}
	bounded := make([]TierProblem, min(len(problems), maxTierProblems))
	copy(bounded, problems)
	for i := range bounded {
		if len(bounded[i].Text) > maxTierProblemText {
			bounded[i].Text = bounded[i].Text[:maxTierProblemText]
		}
	}
	b, err := json.Marshal(bounded)
	if err != nil {
		return // of strings and numbers: it cannot fail
	}
	tags.Set(tagTierProblems, b)
}

// ReadTierProblems is the reverse of TagTierProblems. What it cannot read is none.
func ReadTierProblems(tags *kmsg.Tags) []TierProblem {
	var problems []TierProblem
	tags.Each(func(tag uint32, value []byte) {
		if tag == tagTierProblems && json.Unmarshal(value, &problems) != nil {
			problems = nil
		}
	})
	return problems
}
