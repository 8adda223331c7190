package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/client"
)

func newTopicCommand(a *app) *cobra.Command {
	return group("topic", "Create, list, describe and delete topics",
		newTopicCreateCommand(a), newTopicListCommand(a), newTopicDescribeCommand(a), newTopicDeleteCommand(a))
}

func newTopicCreateCommand(a *app) *cobra.Command {
	var t client.NewTopic
	var configs []string
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a topic", Args: takes(1, 1, "the NAME of a topic"),
		Example: "  varve topic create layers --partitions 3 --config segment.bytes=16777216 --config retention.ms=604800000",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if t.Configs, err = keyValues("--config", configs); err != nil {
				return err
			}
			t.Name = args[0]
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error { return createTopic(ctx, a, c, t) })
		},
	}
	cmd.Flags().Int32Var(&t.Partitions, "partitions", -1, "number of partitions; -1 is the broker's default")
	cmd.Flags().Int16Var(&t.ReplicationFactor, "replication-factor", -1, "replicas of each partition; -1 is the broker's default")
	cmd.Flags().StringArrayVar(&configs, "config", nil, "KEY=VALUE, a setting of the topic; may be repeated")
	return cmd
}

func createTopic(ctx context.Context, a *app, c *client.Client, t client.NewTopic) error {
	partitions, err := c.CreateTopic(ctx, t)
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(map[string]any{"name": t.Name, "partitions": partitions})
	}
	_, err = fmt.Fprintf(a.out, "created %s with %s\n", t.Name, plural(int64(partitions), "partition"))
	return err
}

func newTopicListCommand(a *app) *cobra.Command {
	var internal bool
	cmd := &cobra.Command{
		Use: "list", Short: "List topics", Args: takes(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				topics, err := c.Topics(ctx)
				return partial(topics, err, func(t []client.Topic) error { return a.printTopics(t, internal) })
			})
		},
	}
	cmd.Flags().BoolVar(&internal, "internal", false, "also the broker's own topics")
	return cmd
}

type topicRow struct {
	Name              string `json:"name"`
	ID                string `json:"id"`
	Partitions        int    `json:"partitions"`
	ReplicationFactor int    `json:"replication_factor"`
	Internal          bool   `json:"internal"`
}

func (a *app) printTopics(topics []client.Topic, internal bool) error {
	list := []topicRow{}
	for _, t := range topics {
		if t.Internal && !internal {
			continue
		}
		row := topicRow{Name: t.Name, ID: t.ID, Partitions: len(t.Partitions), Internal: t.Internal}
		if len(t.Partitions) > 0 {
			row.ReplicationFactor = len(t.Partitions[0].Replicas)
		}
		list = append(list, row)
	}
	if a.json() {
		return a.printJSON(list)
	}
	rows := make([][]string, len(list))
	for i, r := range list {
		rows[i] = []string{r.Name, strconv.Itoa(r.Partitions), strconv.Itoa(r.ReplicationFactor)}
	}
	return a.printTable([]string{"TOPIC", "PARTITIONS", "REPLICATION"}, rows)
}

func newTopicDescribeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "describe NAME…", Short: "Show partitions, leaders and settings", Args: takes(1, anyNumber, "the NAMEs of topics"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error { return describeTopics(ctx, a, c, args) })
		},
	}
}

type partitionRow struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"`
	LeaderEpoch int32   `json:"leader_epoch"`
	Replicas    []int32 `json:"replicas"`
	ISR         []int32 `json:"isr"`
	Start       int64   `json:"log_start"`
	End         int64   `json:"end"`
}

type topicDescription struct {
	Name       string            `json:"name"`
	ID         string            `json:"id"`
	Configs    map[string]string `json:"configs"` // only settings that differ from the default
	Partitions []partitionRow    `json:"partitions"`
}

func describeTopics(ctx context.Context, a *app, c *client.Client, names []string) error {
	topics, failed := c.Topics(ctx, names...)
	descriptions := make([]topicDescription, 0, len(topics))
	for _, t := range topics {
		d, err := describeTopic(ctx, c, t)
		failed = errors.Join(failed, err)
		descriptions = append(descriptions, d)
	}
	return partial(descriptions, failed, a.printDescriptions)
}

func (a *app) printDescriptions(descriptions []topicDescription) error {
	if a.json() {
		return a.printJSON(descriptions)
	}
	for i, d := range descriptions {
		if err := a.printDescription(d, i > 0); err != nil {
			return err
		}
	}
	return nil
}

func describeTopic(ctx context.Context, c *client.Client, t client.Topic) (topicDescription, error) {
	d := topicDescription{Name: t.Name, ID: t.ID, Configs: map[string]string{}}
	resources, configErr := c.TopicConfigs(ctx, t.Name)
	for _, r := range resources {
		for _, config := range r.Configs {
			if config.Source == "DYNAMIC_TOPIC_CONFIG" {
				d.Configs[config.Name] = config.Value
			}
		}
	}
	starts, startErr := c.ListOffsets(ctx, t.Name, client.Earliest)
	ends, endErr := c.ListOffsets(ctx, t.Name, client.Latest)
	for _, p := range t.Partitions {
		d.Partitions = append(d.Partitions, partitionRow{
			Partition: p.ID, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Replicas: p.Replicas, ISR: p.ISR,
			Start: offsetOr(starts, p.ID), End: offsetOr(ends, p.ID),
		})
	}
	return d, errors.Join(configErr, startErr, endErr)
}

func offsetOr(offsets client.Offsets, partition int32) int64 {
	if offset, ok := offsets[partition]; ok {
		return offset
	}
	return client.Unknown
}

func (a *app) printDescription(d topicDescription, separate bool) error {
	gap := ""
	if separate {
		gap = "\n"
	}
	configs := make([]string, 0, len(d.Configs))
	for _, key := range sortedKeys(d.Configs) {
		configs = append(configs, key+"="+d.Configs[key])
	}
	if len(configs) == 0 {
		configs = []string{"all default"}
	}
	if _, err := fmt.Fprintf(a.out, "%s%s  id %s  %s\n", gap, d.Name, d.ID, strings.Join(configs, " ")); err != nil {
		return err
	}
	rows := make([][]string, len(d.Partitions))
	for i, p := range d.Partitions {
		rows[i] = []string{
			strconv.Itoa(int(p.Partition)), number(int64(p.Leader)), number(int64(p.LeaderEpoch)), int32s(p.Replicas), int32s(p.ISR),
			offsetRange(p.Start, p.End),
		}
	}
	return a.printTable([]string{"PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "OFFSETS"}, rows)
}

func newTopicDeleteCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME…", Short: "Delete topics and all that is in them", Args: takes(1, anyNumber, "the NAMEs of topics"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				if err := c.DeleteTopics(ctx, args...); err != nil {
					return err
				}
				if a.json() {
					return a.printJSON(map[string]any{"deleted": args})
				}
				_, err := fmt.Fprintf(a.out, "deleted %s\n", strings.Join(args, ", "))
				return err
			})
		},
	}
}
