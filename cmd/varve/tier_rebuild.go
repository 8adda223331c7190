package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/client"
)

// maxRebuildTime is the longest time that kgo waits for a response.
const maxRebuildTime = 15 * time.Minute

func newTierRebuildCommand(a *app) *cobra.Command {
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use: "rebuild TOPIC:PARTITION", Short: "Find a partition's history in the object store again", Args: takes(1, 1, "one TOPIC:PARTITION"),
		Long: "Set the pointer of a partition's remote tier, which etcd has, to the newest manifest in the object store that is whole: all that it\n" +
			"names is there. It is for a pointer that was lost, or is older than the object store, as after etcd was restored from a backup;\n" +
			"\"varve tier status\" names such partitions. The leader does it, and then compares its log with what was found.\n\n" +
			"--dry-run only looks. A long history takes minutes: --timeout says how long to wait.",
		Example: "  varve tier rebuild orders:3 --dry-run\n  varve tier rebuild orders:3 --timeout 10m",
		RunE: func(cmd *cobra.Command, args []string) error {
			tp, err := parseTopicPartition(args[0])
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				return rebuildTier(ctx, a, c, tp, dryRun, yes)
			}, freshMetadata, kgo.RequestTimeoutOverhead(min(a.timeout, maxRebuildTime)))
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be done, and change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask before the pointer is set")
	return cmd
}

func rebuildTier(ctx context.Context, a *app, c *client.Client, tp client.TopicPartition, dryRun, yes bool) error {
	if !dryRun && !yes {
		found, err := c.RebuildTier(ctx, tp, true)
		if err != nil || !found.Changed {
			return errors.Join(a.printTierRebuild(found, true, err), err)
		}
		for _, line := range append([]string{rebuildOutcome(found, true)}, rebuildSkipped(found)...) {
			if _, err = fmt.Fprintln(a.errOut, line); err != nil {
				return err
			}
		}
		if err = a.confirm("Set the pointer to that manifest?", false); err != nil {
			return err
		}
	}
	found, err := c.RebuildTier(ctx, tp, dryRun)
	return errors.Join(a.printTierRebuild(found, dryRun, err), err)
}

// tierRebuildRow is the result as JSON; the end is exclusive.
type tierRebuildRow struct {
	Topic     string           `json:"topic"`
	Partition int32            `json:"partition"`
	DryRun    bool             `json:"dry_run"`
	Changed   bool             `json:"changed"` // in a dry run: it would be
	Was       string           `json:"was"`
	Manifest  string           `json:"manifest"`
	Start     int64            `json:"start"`
	End       int64            `json:"end"`
	Segments  int64            `json:"segments"`
	Bytes     int64            `json:"bytes"`
	Skipped   []tierSkippedRow `json:"skipped"`
	Error     string           `json:"error,omitempty"`
}

type tierSkippedRow struct {
	Manifest string `json:"manifest"`
	Why      string `json:"why"`
}

// printTierRebuild prints the result. After an error it prints only the skipped manifests; the
// caller returns the error.
func (a *app) printTierRebuild(found client.TierRebuild, dryRun bool, failed error) error {
	if a.json() {
		row := tierRebuildRow{
			Topic: found.Topic, Partition: found.Partition, DryRun: dryRun, Changed: found.Changed, Was: found.Was, Manifest: found.Manifest,
			Start: found.StartOffset, End: found.EndOffset, Segments: found.Segments, Bytes: found.Bytes, Skipped: []tierSkippedRow{},
		}
		for _, s := range found.Skipped {
			row.Skipped = append(row.Skipped, tierSkippedRow(s))
		}
		if failed != nil {
			row.Error = failed.Error()
		}
		return a.printJSON(row)
	}
	lines := rebuildSkipped(found)
	if failed == nil {
		lines = append([]string{rebuildOutcome(found, dryRun)}, lines...)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(a.out, line); err != nil {
			return err
		}
	}
	return nil
}

// rebuildOutcome returns one line with what was done or would be done.
func rebuildOutcome(found client.TierRebuild, dryRun bool) string {
	what := fmt.Sprintf("%s with offsets %s, %s segments, %s", found.Manifest, offsetRange(found.StartOffset, found.EndOffset),
		strconv.FormatInt(found.Segments, 10), byteSize(found.Bytes))
	if found.Manifest == "" {
		what = "no manifest: none was ever committed; what the bucket has, if anything, are uploads that were cut short"
	}
	was := "there was none"
	if found.Was != "" {
		was = "it was " + found.Was
	}
	switch {
	case !found.Changed:
		return fmt.Sprintf("%s: nothing to do, the pointer names %s", found.TopicPartition, what)
	case dryRun:
		return fmt.Sprintf("%s: the pointer would name %s; %s", found.TopicPartition, what, was)
	}
	return fmt.Sprintf("%s: the pointer names %s; %s", found.TopicPartition, what, was)
}

func rebuildSkipped(found client.TierRebuild) []string {
	lines := make([]string, len(found.Skipped))
	for i, s := range found.Skipped {
		lines[i] = fmt.Sprintf("skipped %s: %s", s.Manifest, s.Why)
	}
	return lines
}
