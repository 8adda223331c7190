package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/client"
)

// copyDisable is the setting of a topic whose uploads are paused (KIP-950).
const copyDisable = "remote.log.copy.disable"

func newTierPauseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "pause TOPIC…", Short: "Stop uploads of topics", Args: takes(1, anyNumber, "the TOPICs"),
		Long: "Stop uploads of topics: remote.log.copy.disable is set to true. What is in the object store stays readable and expires as before.\n" +
			"Local disks keep what is not in the object store. As in Kafka, a paused topic has no local retention of its own: local.retention.ms\n" +
			"and local.retention.bytes have to be -2, or those of the whole log. \"varve tier status\" shows such partitions as paused.",
		Example: "  varve tier pause orders\n  varve tier resume orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				return pauseTier(ctx, a, c, args, true)
			})
		},
	}
}

func newTierResumeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "resume TOPIC…", Short: "Go on with uploads of topics", Args: takes(1, anyNumber, "the TOPICs"),
		Long: "Go on with uploads of topics that were paused, the oldest segments first: remote.log.copy.disable gets its default back.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				return pauseTier(ctx, a, c, args, false)
			})
		},
	}
}

// pauseTier stops or resumes uploads of topics. A failure for one topic does not affect the others.
func pauseTier(ctx context.Context, a *app, c *client.Client, topics []string, pause bool) error {
	change, done := client.ConfigChange{Unset: []string{copyDisable}}, "resumed"
	if pause {
		change, done = client.ConfigChange{Set: map[string]string{copyDisable: "true"}}, "paused"
	}
	var failed []error
	changed := []string{}
	for _, topic := range topics {
		if err := c.AlterTopicConfigs(ctx, topic, change); err != nil {
			failed = append(failed, err)
			continue
		}
		changed = append(changed, topic)
	}
	return partial(changed, errors.Join(failed...), func(topics []string) error {
		if a.json() {
			return a.printJSON(map[string]any{done: topics})
		}
		for _, topic := range topics {
			if _, err := fmt.Fprintf(a.out, "uploads of %s are %s\n", topic, done); err != nil {
				return err
			}
		}
		return nil
	})
}
