package main

import (
	"cmp"
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/client"
)

func newTierCommand(a *app) *cobra.Command {
	return group("tier", "How the log lies over local disk and object store",
		newTierDumpCommand(a), newTierOrphansCommand(a), newTierMarkCommand(a), newTierRebuildCommand(a),
		newTierPauseCommand(a), newTierResumeCommand(a), &cobra.Command{
			Use: "status [TOPIC…]", Short: "Show the offsets and bytes of both tiers", Args: takes(0, anyNumber, "any TOPICs"),
			Long: "Show for every partition which offsets are on local disk and which in the object store (most are in both for a while),\n" +
				"the bytes of each, how many records are not in the object store yet, and how many closed segments, and bytes of them, wait to go up:\n" +
				"the oldest ones go first, also those of before the topic was tiered.\n" +
				"STATE is what the leader does: active, paused (\"varve tier pause\"), attaching (not yet), deposed (another leader has the remote tier), or read-only: a newer\n" +
				"version has written what this one must not change, so that nothing goes up or is deleted until the broker is upgraded.\n" +
				"Below is what is wrong: objects that are missing or damaged, work that fails, and objects that cannot be deleted; and below that what\n" +
				"in the bucket belongs to no topic (orphans), see `varve tier orphans`.",
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
					partitions, err := c.TierStatus(ctx, args...)
					if err = partial(partitions, err, a.printTierStatus); err != nil || a.json() {
						return err
					}
					problems, err := c.BucketProblems(ctx)
					if err != nil {
						return err
					}
					return a.printTierProblems(tierProblemRows(problems))
				})
			},
		})
}

// tierRow is one partition as JSON. Ends are exclusive, null is unknown.
type tierRow struct {
	Topic          string  `json:"topic"`
	Partition      int32   `json:"partition"`
	Tiered         bool    `json:"tiered"`
	LogStart       *int64  `json:"log_start"`
	LocalStart     *int64  `json:"local_start"`
	RemoteEnd      *int64  `json:"remote_end"`
	End            *int64  `json:"end"`
	LocalBytes     *int64  `json:"local_bytes"`
	RemoteBytes    *int64  `json:"remote_bytes"`
	RemoteSegments *int64  `json:"remote_segments"`
	LagRecords     *int64  `json:"lag_records"`
	LagSegments    *int64  `json:"lag_segments"`
	LagBytes       *int64  `json:"lag_bytes"`
	LastUpload     *int64  `json:"last_upload_ms"`
	State          *string `json:"state"`

	Problems []tierProblemRow `json:"problems"`
}

func (a *app) printTierStatus(partitions []client.TierPartition) error {
	list := make([]tierRow, 0, len(partitions))
	rows := make([][]string, 0, len(partitions))
	problems := make([]tierProblemRow, 0, len(partitions))
	for _, p := range partitions {
		list = append(list, tierRow{
			Topic: p.Topic, Partition: p.Partition, Tiered: p.Tiered,
			LogStart: known(p.LogStart), LocalStart: known(p.LocalStart), RemoteEnd: known(p.RemoteEnd), End: known(p.End),
			LocalBytes: known(p.LocalBytes), RemoteBytes: known(p.RemoteBytes), RemoteSegments: known(p.RemoteSegments),
			LagRecords: known(p.Lag()), LagSegments: known(p.PendingSegments), LagBytes: known(p.PendingBytes), LastUpload: known(p.LastUpload),
			Problems: tierProblemRows(p.Problems),
			State:    told(p.State),
		})
		problems = append(problems, tierProblemRows(p.Problems)...)
		remote := "off"
		if p.Tiered || p.RemoteEnd > p.LogStart {
			remote = offsetRange(p.LogStart, p.RemoteEnd)
		}
		rows = append(rows, []string{
			p.Topic, strconv.Itoa(int(p.Partition)), offsetRange(p.LocalStart, p.End), remote,
			byteSize(p.LocalBytes), byteSize(p.RemoteBytes), number(p.RemoteSegments),
			number(p.Lag()), number(p.PendingSegments), byteSize(p.PendingBytes), instant(p.LastUpload), cmp.Or(p.State, absent),
		})
	}
	if a.json() {
		return a.printJSON(list)
	}
	err := a.printTable([]string{
		"TOPIC", "PARTITION", "LOCAL", "REMOTE", "LOCAL BYTES", "REMOTE BYTES", "SEGMENTS", "LAG RECORDS", "LAG SEGMENTS", "LAG BYTES", "LAST UPLOAD", "STATE",
	}, rows)
	if err != nil {
		return err
	}
	return a.printTierProblems(problems)
}
