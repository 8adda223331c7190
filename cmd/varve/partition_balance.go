package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varvelog/varve/client"
)

func newPartitionBalanceCommand(a *app) *cobra.Command {
	var flags reassignFlags
	var remove []int32
	var batch int
	cmd := &cobra.Command{
		Use: "balance", Short: "Even out replicas and leaders over the brokers", Args: takes(0, 0, "no arguments"),
		Long: "Move as few replicas as it takes to give every live broker as many as the others, with the replicas of a partition on different\n" +
			"racks where there are enough; then choose preferred leaders evenly, and elect them. It counts replicas, not bytes.\n\n" +
			"A broker that has just been added gets its share. --remove-broker moves everything off one that shall go, alive or dead. The\n" +
			"replicas of a broker that is down and not to be removed stay: it may come back. So do partitions without a leader.\n\n" +
			"It works on --batch partitions at a time and can be interrupted: run again, it goes on.",
		Example: "  varve partition balance --dry-run\n  varve partition balance --remove-broker 3 --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if batch < 1 {
				return fmt.Errorf("--batch %d: want at least 1", batch)
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				return a.balance(ctx, c, remove, batch, flags)
			}, freshMetadata)
		},
	}
	flags.add(cmd)
	cmd.Flags().Int32SliceVar(&remove, "remove-broker", nil, "ID of a broker that shall have no replicas; may be repeated")
	cmd.Flags().IntVar(&batch, "batch", 20, "how many partitions to reassign at a time")
	return cmd
}

func (a *app) balance(ctx context.Context, c *client.Client, remove []int32, batch int, flags reassignFlags) error {
	now, brokers, underWay, err := readPlacement(ctx, c)
	if err != nil {
		return err
	}
	if len(underWay) > 0 {
		return fmt.Errorf("%s under way: wait for it, or take it back (\"varve partition reassign --list\", --cancel)", plural(int64(len(underWay)), "reassignment"))
	}
	in, err := balanceOf(now, brokers, remove)
	if err != nil {
		return err
	}
	target, err := balance(in)
	if err != nil {
		return err
	}
	moves := balanceMoves(in, target)
	if err = a.noteStaying(in, brokers); err != nil {
		return err
	}
	var results []client.PartitionResult
	if len(moves) > 0 || flags.dryRun || !needElections(in, target, now) {
		agreed, proposeErr := a.propose(ctx, c, moves, flags)
		if proposeErr != nil || !agreed {
			return errors.Join(proposeErr, left(in))
		}
		if results, err = a.execute(ctx, c, moves, batch, false); err != nil {
			return errors.Join(a.printDone(results, false), err)
		}
	}
	elected, err := electAfterBalance(ctx, c, in)
	if !a.json() && elected > 0 {
		_, printErr := fmt.Fprintf(a.out, "%s moved to preferred leaders\n", plural(int64(elected), "partition"))
		err = errors.Join(printErr, err)
	}
	if len(results) == 0 && a.json() {
		err = errors.Join(a.printNothing(), err)
	}
	return errors.Join(a.printDone(results, false), err, left(in))
}

// balanceOf converts the cluster to the input of a balance.
func balanceOf(now placed, brokers []client.Broker, remove []int32) (balanceInput, error) {
	in := balanceInput{Racks: map[int32]string{}, Remove: map[int32]bool{}}
	known := map[int32]bool{}
	for _, b := range brokers {
		known[b.ID] = true
		if !b.Fenced {
			in.Racks[b.ID] = b.Rack
		}
	}
	for _, t := range now.topics {
		for _, p := range t.Partitions {
			if len(p.Replicas) == 0 {
				continue
			}
			for _, id := range p.Replicas {
				known[id] = true
			}
			in.Partitions = append(in.Partitions, balancePartition{
				TopicPartition: client.TopicPartition{Topic: t.Name, Partition: p.ID}, Replicas: p.Replicas, Fixed: p.Leader < 0,
			})
		}
	}
	for _, id := range remove {
		if !known[id] {
			return in, fmt.Errorf("--remove-broker %d: there is no such broker (\"varve cluster status\" shows them)", id)
		}
		in.Remove[id] = true
		delete(in.Racks, id)
	}
	if len(in.Racks) == 0 {
		return in, errors.New("--remove-broker: no live broker would be left")
	}
	return in, nil
}

func balanceMoves(in balanceInput, target [][]int32) []reassignMove {
	var moves []reassignMove
	for i, p := range in.Partitions {
		if !slices.Equal(p.Replicas, target[i]) {
			moves = append(moves, reassignMove{TopicPartition: p.TopicPartition, From: p.Replicas, To: target[i], Bytes: client.Unknown})
		}
	}
	return moves
}

// noteStaying prints which brokers a balance leaves alone because they are down.
func (a *app) noteStaying(in balanceInput, brokers []client.Broker) error {
	status := newClusterStatus(client.Cluster{Brokers: brokers}, topicsOf(in), nil, nil)
	for _, b := range status.Brokers {
		if b.State != "alive" && !in.Remove[b.ID] {
			_, err := fmt.Fprintf(a.errOut, "broker %d is %s: it keeps %s (--remove-broker %d moves them off)\n", b.ID, b.State, plural(int64(b.Replicas), "replica"), b.ID)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func topicsOf(in balanceInput) []client.Topic {
	topics := make([]client.Topic, len(in.Partitions))
	for i, p := range in.Partitions {
		topics[i] = client.Topic{Name: p.Topic, Partitions: []client.Partition{{ID: p.Partition, Replicas: p.Replicas, Leader: client.NoLeader}}}
	}
	return topics
}

// left returns an error for each partition that could not leave a broker of Remove.
func left(in balanceInput) error {
	var failed []error
	for _, p := range in.Partitions {
		for _, id := range p.Replicas {
			if p.Fixed && in.Remove[id] {
				failed = append(failed, fmt.Errorf("%s stays on broker %d: without a leader there is nothing to copy from (\"varve partition elect\")", p.TopicPartition, id))
			}
		}
	}
	return errors.Join(failed...)
}

// needElections reports whether a live preferred leader does not lead.
func needElections(in balanceInput, target [][]int32, now placed) bool {
	for i, p := range in.Partitions {
		if _, live := in.Racks[target[i][0]]; live && !p.Fixed && now.at[p.TopicPartition].Leader != target[i][0] {
			return true
		}
	}
	return false
}

// electAfterBalance elects the preferred leaders of the partitions that other replicas lead. A
// preferred leader that is dead or not in sync is not a failure: the controller elects it later.
func electAfterBalance(ctx context.Context, c *client.Client, in balanceInput) (elected int, err error) {
	now, err := readPlaced(ctx, c)
	if err != nil {
		return 0, err
	}
	var tps []client.TopicPartition
	for _, p := range in.Partitions {
		at, exists := now.at[p.TopicPartition]
		if !exists || len(at.Replicas) == 0 || at.Leader < 0 || at.Leader == at.Replicas[0] || !slices.Contains(at.ISR, at.Replicas[0]) {
			continue
		}
		tps = append(tps, p.TopicPartition)
	}
	if len(tps) == 0 {
		return 0, nil
	}
	results, err := c.ElectLeaders(ctx, false, tps...)
	if err != nil {
		return 0, err
	}
	var failed []error
	for _, r := range results {
		switch {
		case r.Err == nil:
			elected++
		case errors.Is(r.Err, kerr.ElectionNotNeeded), errors.Is(r.Err, kerr.PreferredLeaderNotAvailable):
		default:
			failed = append(failed, r.Err)
		}
	}
	return elected, errors.Join(failed...)
}
