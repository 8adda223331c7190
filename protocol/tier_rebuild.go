package protocol

import (
	"encoding/json"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Names of log directories that are commands in AlterReplicaLogDirs rather than places to move a
// replica to. Kafka's directories are absolute paths, so no client sends these names by accident.
const (
	// DirTierRebuild asks the leader of a partition to set the pointer of its remote tier to the
	// newest whole manifest in the bucket.
	DirTierRebuild = "remote:rebuild"
	// DirTierRebuildDryRun asks what DirTierRebuild would do.
	DirTierRebuildDryRun = "remote:rebuild?dry-run"
)

// tagTierRebuild is a tagged field of a partition in an AlterReplicaLogDirs response: a TierRebuild
// as JSON. As in tier_tags.go, its number is never reused with another meaning.
const tagTierRebuild = 10008

const (
	// maxTierSkipped bounds the number of skipped manifests in the field.
	maxTierSkipped = 16
	// maxTierSkippedText bounds the text of each, and of the error, in bytes.
	maxTierSkippedText = 1000
)

// TierRebuild is the result of a rebuild, or of its dry run. Fields may be added.
type TierRebuild struct {
	Was      string `json:"was,omitempty"`      // the manifest that the pointer named
	Manifest string `json:"manifest,omitempty"` // the newest whole manifest; "" if there is none
	// Changed reports whether the pointer now names Manifest, or would after a real run.
	Changed bool `json:"changed"`
	// StartOffset and EndOffset (exclusive) are the offset range of Manifest.
	StartOffset int64         `json:"start"`
	EndOffset   int64         `json:"end"`
	Segments    int64         `json:"segments"`
	Bytes       int64         `json:"bytes"` // size of the log
	Skipped     []TierSkipped `json:"skipped,omitempty"`
	Error       string        `json:"error,omitempty"` // reason, beside the error code
}

// TierSkipped is a manifest that is newer than the chosen one and was skipped.
type TierSkipped struct {
	Manifest string `json:"manifest"`
	Why      string `json:"why"`
}

// Tag puts the result into a partition's tagged fields. If too many manifests were skipped, it
// keeps the newest ones.
func (r TierRebuild) Tag(tags *kmsg.Tags) {
	r.Error = bounded(r.Error)
	skipped := make([]TierSkipped, min(len(r.Skipped), maxTierSkipped))
	for i := range skipped {
		skipped[i] = TierSkipped{r.Skipped[i].Manifest, bounded(r.Skipped[i].Why)}
	}
	r.Skipped = skipped
	b, err := json.Marshal(r)
	if err != nil {
		return // cannot happen with strings and numbers
	}
	tags.Set(tagTierRebuild, b)
}

// bounded cuts a text to at most maxTierSkippedText bytes of valid UTF-8.
func bounded(text string) string {
	if len(text) > maxTierSkippedText {
		return strings.ToValidUTF8(text[:maxTierSkippedText], "")
	}
	return text
}

// ReadTierRebuild is the reverse of Tag. It returns false if the field is missing: the broker is
// not Varve's, or is older.
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
