package main

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/storage"
)

func newStraysCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "strays DIR…", Short: "List the logs that were set aside in log directories", Args: takes(1, anyNumber, "DIRs"),
		Long: "List the logs that a broker has set aside: the cluster's metadata do not have them on that broker, and nothing says that they\n" +
			"were deleted. They are deleted after varve.log.stray.retention.ms, a week by default. DIR is a directory of log.dirs; the broker may be running.",
		RunE: func(_ *cobra.Command, args []string) error {
			var all []storage.Stray
			for _, dir := range args {
				found, err := storage.Strays(nil, dir)
				if err != nil {
					return err
				}
				all = append(all, found...)
			}
			slices.SortFunc(all, func(x, y storage.Stray) int {
				return cmp.Or(cmp.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition), x.Since.Compare(y.Since))
			})
			return a.printStrays(all)
		},
	}
	cmd.AddCommand(&cobra.Command{
		Use: "restore PATH…", Short: "Make logs of strays again, for the next start", Args: takes(1, anyNumber, "PATHs"),
		Long: "Give directories that were set aside their names back. The broker must not be running. Its next start serves the logs if the\n" +
			"cluster has the topics with their ids, and this broker among the replicas; otherwise it sets them aside again. PATH is as\n" +
			"`varve log strays` shows it.",
		RunE: func(_ *cobra.Command, args []string) error {
			var restored []storage.Stray
			for _, path := range args {
				s, err := storage.RestoreStray(nil, path)
				if err != nil {
					err = fmt.Errorf("restore %s: %w", path, err)
					if len(restored) > 0 {
						err = errors.Join(a.printStrays(restored), err)
					}
					return err
				}
				restored = append(restored, s)
			}
			return a.printStrays(restored)
		},
	})
	return cmd
}

// strayRow is one stray as JSON.
type strayRow struct {
	Path      string `json:"path"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	TopicID   string `json:"topic_id,omitempty"`
	Bytes     int64  `json:"bytes"`
	SinceMs   *int64 `json:"since_ms"` // null: the next start records it
	Reason    string `json:"reason"`
}

func (a *app) printStrays(strays []storage.Stray) error {
	list := make([]strayRow, 0, len(strays))
	rows := make([][]string, 0, len(strays))
	for _, s := range strays {
		row := strayRow{Path: s.Path, Topic: s.Topic, Partition: s.Partition, Bytes: s.Bytes, Reason: s.Reason}
		if s.TopicID != ([16]byte{}) {
			row.TopicID = base64.RawURLEncoding.EncodeToString(s.TopicID[:])
		}
		since := int64(-1)
		if !s.Since.IsZero() {
			since = s.Since.UnixMilli()
			row.SinceMs = &since
		}
		list = append(list, row)
		rows = append(rows, []string{
			orAbsent(s.Topic), strconv.Itoa(int(s.Partition)), orAbsent(row.TopicID), byteSize(s.Bytes), instant(since), s.Reason, s.Path,
		})
	}
	if a.json() {
		return a.printJSON(list)
	}
	return a.printTable([]string{"TOPIC", "PARTITION", "TOPIC ID", "BYTES", "SINCE", "WHY", "PATH"}, rows)
}
