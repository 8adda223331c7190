package protocol

import (
	"encoding/json"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Names of log directories that AlterReplicaLogDirs does not move a replica to. Those of Kafka are
// absolute paths, so that no client sends these who does not mean them.
const (
	// DirTierRebuild asks the leader of a partition to set the pointer of its remote tier to the newest
	// whole manifest of the bucket.
	DirTierRebuild = "remote:rebuild"
	// DirTierRebuildDryRun asks what DirTierRebuild would do.
	DirTierRebuildDryRun = "remote:rebuild?dry-run"
)

// tagTierRebuild is a tagged field of a partition of an AlterReplicaLogDirs response: a TierRebuild as
// JSON. As with those of tier_tags.go, its number is never used again for anything else.
const tagTierRebuild = 10008

const (
	// maxTierSkipped bounds how many skipped manifests the field has.
	maxTierSkipped = 16
	// maxTierSkippedText bounds the text of each, and that of the error, in bytes.
	maxTierSkippedText = 1000
)

// TierRebuild is what a broker has found in the bucket, and done. Fields may be added.
type TierRebuild struct {
	Was      string `json:"was,omitempty"`      // the manifest that the pointer named
	Manifest string `json:"manifest,omitempty"` // the newest whole one; "": there is none
	// Changed says that the pointer names the manifest now, or would after what was no dry run.
	Changed bool `json:"changed"`
	// StartOffset and EndOffset (exclusive) are the manifest's range.
	StartOffset int64         `json:"start"`
	EndOffset   int64         `json:"end"`
	Segments    int64         `json:"segments"`
	Bytes       int64         `json:"bytes"` // of the log
	Skipped     []TierSkipped `json:"skipped,omitempty"`
	Error       string        `json:"error,omitempty"` // why it was not done, beside the error code
}

// TierSkipped is a manifest that is newer and was passed over.
type TierSkipped struct {
	Manifest string `json:"manifest"`
	Why      string `json:"why"`
}

// Tag puts it into a partition's tagged fields: of the skipped manifests the newest ones, if they are
// many.
func (r TierRebuild) Tag(tags *kmsg.Tags) {
	r.Error = bounded(r.Error)
	skipped := make([]TierSkipped, min(len(r.Skipped), maxTierSkipped))
	for i := range skipped {
		skipped[i] = TierSkipped{r.Skipped[i].Manifest, bounded(r.Skipped[i].Why)}
	}
	r.Skipped = skipped
	b, err := json.Marshal(r)
	if err != nil {
		return // of strings and numbers: it cannot fail
	}
	tags.Set(tagTierRebuild, b)
}

// bounded is a text of at most maxTierSkippedText bytes.
func bounded(text string) string {
	if len(text) > maxTierSkippedText {
		return strings.ToValidUTF8(text[:maxTierSkippedText], "")
	}
	return text
}

// ReadTierRebuild is the reverse of Tag; false: the broker does not tell, for it is not Varve's, or an
// older one.
func ReadTierRebuild(tags *kmsg.Tags) (r TierRebuild, ok bool) {
	tags.Each(func(tag uint32, value []byte) {
		if tag == tagTierRebuild {
			ok = json.Unmarshal(value, &r) == nil
		}
	})
	if !ok {
		return TierRebuild{}, false
	}
	return r, true
}
