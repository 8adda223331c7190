package protocol

import (
	"encoding/json"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// tagTierProblems is a tagged field next to those of TierStats: a JSON array of TierProblem. It is
// left out if there are none. Its number is also tagAwaited's, which is in another response.
const tagTierProblems = 10005

const (
	// maxTierProblems bounds the number of problems in a partition's field.
	maxTierProblems = 8
	// maxTierProblemText bounds the text of each, in bytes.
	maxTierProblemText = 500
)

// TierProblem is a problem that keeps a partition's remote tier from working or from being read, as
// seen by the broker of the replica. In the tagged fields of the response as a whole it concerns
// the bucket. Fields may be added.
type TierProblem struct {
	// Kind is "damage" (an object is missing or differs from the upload), "undeletable" (objects
	// cannot be deleted), or the step that fails: "attach", "upload", "expire", "sweep", "delete".
	// For the bucket it is "orphans" (Count topics are unknown) or "suspect" (Count topics are
	// unknown but in the bucket's catalogue).
	Kind   string `json:"kind"`
	Object string `json:"object,omitempty"` // its key in the bucket
	Count  int    `json:"count,omitempty"`  // number of such objects or topics
	Since  int64  `json:"since_ms"`         // unix ms
	Text   string `json:"text"`
}

// TagTierProblems puts the problems into a partition's tagged fields. If there are too many, it
// keeps the first ones.
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
		return // cannot happen with strings and numbers
	}
	tags.Set(tagTierProblems, b)
}

// ReadTierProblems is the reverse of TagTierProblems. It returns none if the field cannot be
// decoded.
func ReadTierProblems(tags *kmsg.Tags) []TierProblem {
	var problems []TierProblem
	tags.Each(func(tag uint32, value []byte) {
		if tag == tagTierProblems && json.Unmarshal(value, &problems) != nil {
			problems = nil
		}
	})
	return problems
}
