package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/client"
)

func newPartitionElectCommand(a *app) *cobra.Command {
	var preferred, unclean, all, yes bool
	cmd := &cobra.Command{
		Use: "elect [TOPIC[:PARTITION]…]", Short: "Elect leaders: preferred ones, or any that live", Args: takes(0, anyNumber, "TOPICs or TOPIC:PARTITIONs"),
		Long: "Give leadership to the preferred replica, the first of a partition's replicas, if it is in sync.\n\n" +
			"--unclean gives partitions without a leader one that lives although it is not in sync: records that it lacks are lost for good.",
		Example: "  varve partition elect --all\n  varve partition elect --unclean orders:3",
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case preferred && unclean:
				return errors.New("--preferred and --unclean: leave one out")
			case all && len(args) > 0:
				return errors.New("--all and named partitions: leave one out")
			case !all && len(args) == 0:
				return errors.New("name partitions (TOPIC or TOPIC:PARTITION), or give --all")
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				return electLeaders(ctx, a, c, args, unclean, yes)
			}, freshMetadata)
		},
	}
	cmd.Flags().BoolVar(&preferred, "preferred", false, "elect preferred leaders (the default)")
	cmd.Flags().BoolVar(&unclean, "unclean", false, "elect any live replica of partitions without a leader; may lose records")
	cmd.Flags().BoolVar(&all, "all", false, "all partitions")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask before an unclean election")
	return cmd
}

func electLeaders(ctx context.Context, a *app, c *client.Client, args []string, unclean, yes bool) error {
	now, err := readPlaced(ctx, c)
	if err != nil {
		return err
	}
	tps, err := partitionArgs(args, now.topics)
	if err != nil {
		return err
	}
	if unclean {
		if tps = leaderless(tps, now); len(tps) == 0 {
			_, err = fmt.Fprintln(a.errOut, "no election is needed: every partition that was named has a leader")
			return errors.Join(err, a.printElections(nil))
		}
		if !yes {
			for _, tp := range tps {
				p := now.at[tp]
				if _, err = fmt.Fprintf(a.errOut, "%s has no leader; in sync were %s of %s\n", tp, orAbsent(int32s(p.ISR)), int32s(p.Replicas)); err != nil {
					return err
				}
			}
		}
		if err = a.confirm(fmt.Sprintf("Elect leaders of %s at the price of records that are only elsewhere?", plural(int64(len(tps)), "partition")), yes); err != nil {
			return err
		}
	}
	results, err := c.ElectLeaders(ctx, unclean, tps...)
	if err != nil {
		return err
	}
	return a.printElections(results)
}

// leaderless returns those of the partitions, or of all if none is named, that have no leader. It
// keeps partitions that do not exist: the broker reports them.
func leaderless(tps []client.TopicPartition, now placed) (without []client.TopicPartition) {
	if len(tps) == 0 {
		for _, t := range now.topics {
			for _, p := range t.Partitions {
				tps = append(tps, client.TopicPartition{Topic: t.Name, Partition: p.ID})
			}
		}
	}
	for _, tp := range tps {
		if p, exists := now.at[tp]; !exists || p.Leader < 0 {
			without = append(without, tp)
		}
	}
	return without
}

// printElections prints the result of each election. A leader that is elected already is not a
// failure.
func (a *app) printElections(results []client.PartitionResult) error {
	if len(results) == 0 && !a.json() {
		_, err := fmt.Fprintln(a.out, "nothing to elect")
		return err
	}
	return a.printResults(results, func(err error) (string, bool) {
		switch {
		case err == nil:
			return "elected", false
		case errors.Is(err, kerr.ElectionNotNeeded):
			return "not needed", false
		case errors.Is(err, kerr.PreferredLeaderNotAvailable):
			return "preferred replica is not in sync", true
		case errors.Is(err, kerr.EligibleLeadersNotAvailable):
			return "no replica is alive", true
		default:
			return "failed", true
		}
	})
}
