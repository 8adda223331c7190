package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/client"
)

// reassignFlags are the flags of commands that move partitions.
type reassignFlags struct {
	yes, dryRun, noWait bool
}

func (f *reassignFlags) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask before the change")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "show the plan and change nothing; with --output json in the format of reassign --file")
}

func newPartitionReassignCommand(a *app) *cobra.Command {
	var flags reassignFlags
	var file string
	var list, cancel, all bool
	cmd := &cobra.Command{
		Use:   "reassign --file FILE | TOPIC:PARTITION=BROKER,…  [--cancel | --list]",
		Short: "Give partitions other replicas, list what is under way, take it back",
		Long: "Give partitions the replicas that a file in the format of kafka-reassign-partitions names (- is standard input), or the arguments do;\n" +
			"the first is the preferred leader. It shows the plan, asks, and waits until the new replicas are in sync and the old ones are gone.\n" +
			"A wait that is interrupted leaves the reassignment under way.\n\n" +
			"--list shows what is under way. --cancel takes back what the file or the arguments (TOPIC or TOPIC:PARTITION) name, or --all.",
		Example: "  varve partition reassign --file plan.json\n  varve partition reassign orders:0=1,2,4 --yes\n  varve partition reassign --cancel --all",
		Args:    takes(0, anyNumber, "any partitions"),
		RunE: func(cmd *cobra.Command, args []string) error {
			named := len(args) > 0 || file != ""
			switch {
			case list && (named || cancel || all):
				return errors.New("--list takes nothing else: it shows all that is under way")
			case len(args) > 0 && file != "":
				return errors.New("--file and named partitions: leave one out")
			case all && (named || !cancel):
				return errors.New("--all is for --cancel, without named partitions")
			case !list && !all && !named:
				return errors.New("name partitions (TOPIC:PARTITION=BROKER,…), or give --file, --list, or --cancel --all")
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				switch {
				case list:
					reassignments, err := c.Reassignments(ctx)
					return partial(reassignments, err, a.printReassignments)
				case cancel:
					return a.cancelReassignments(ctx, c, args, file, flags)
				}
				assignments, err := a.assignments(args, file)
				if err != nil {
					return err
				}
				return a.reassign(ctx, c, assignments, flags)
			}, freshMetadata)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.noWait, "no-wait", false, "end when it has begun")
	cmd.Flags().StringVar(&file, "file", "", "FILE with a reassignment in Kafka's JSON; - is standard input, then with --yes")
	cmd.Flags().BoolVar(&list, "list", false, "show what is under way")
	cmd.Flags().BoolVar(&cancel, "cancel", false, "take back what is under way")
	cmd.Flags().BoolVar(&all, "all", false, "with --cancel: all that is under way")
	return cmd
}

func newPartitionMoveCommand(a *app) *cobra.Command {
	var flags reassignFlags
	var to string
	cmd := &cobra.Command{
		Use: "move TOPIC:PARTITION… --to BROKER,…", Short: "Move partitions to brokers", Args: takes(1, anyNumber, "TOPIC:PARTITIONs"),
		Long: "Give each named partition (of a TOPIC without a number: all) the brokers of --to as replicas, the first as preferred leader.\n" +
			"It shows the plan, asks, and waits until the new replicas are in sync and the old ones are gone.",
		Example: "  varve partition move orders:0 orders:1 --to 1,2,4",
		RunE: func(cmd *cobra.Command, args []string) error {
			replicas, err := parseReplicas("--to", to)
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				topics, err := c.Topics(ctx)
				if err != nil {
					return err
				}
				tps, err := partitionArgs(args, topics)
				if err != nil {
					return err
				}
				assignments := make([]client.Assignment, len(tps))
				for i, tp := range tps {
					assignments[i] = client.Assignment{TopicPartition: tp, Replicas: replicas}
				}
				return a.reassign(ctx, c, assignments, flags)
			}, freshMetadata)
		},
	}
	flags.add(cmd)
	cmd.Flags().BoolVar(&flags.noWait, "no-wait", false, "end when it has begun")
	cmd.Flags().StringVar(&to, "to", "", "ids of brokers, the preferred leader first")
	return cmd
}

// assignments reads the file, or TOPIC:PARTITION=BROKER,… arguments.
func (a *app) assignments(args []string, file string) ([]client.Assignment, error) {
	if file != "" {
		data, err := a.readFile(file)
		if err != nil {
			return nil, err
		}
		assignments, err := parseReassignFile(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		return assignments, nil
	}
	all := make([]client.Assignment, len(args))
	seen := map[client.TopicPartition]bool{}
	for i, arg := range args {
		name, brokers, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("%s: want TOPIC:PARTITION=BROKER,…, such as orders:0=1,2,3", arg)
		}
		tp, err := parseTopicPartition(name)
		if err != nil {
			return nil, err
		}
		if seen[tp] {
			return nil, fmt.Errorf("%s is there twice", tp)
		}
		seen[tp] = true
		if all[i].Replicas, err = parseReplicas(name+":", brokers); err != nil {
			return nil, err
		}
		all[i].TopicPartition = tp
	}
	return all, nil
}

func (a *app) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(a.in)
	}
	return os.ReadFile(name)
}

// reassign plans, shows, asks, begins, and waits.
func (a *app) reassign(ctx context.Context, c *client.Client, assignments []client.Assignment, flags reassignFlags) error {
	now, brokers, underWay, err := readPlacement(ctx, c)
	if err != nil {
		return err
	}
	moves, err := planMoves(assignments, now, brokers, underWay)
	if err != nil {
		return err
	}
	for _, m := range moves {
		if now.at[m.TopicPartition].Leader < 0 {
			if _, err = fmt.Fprintf(a.errOut, "%s has no leader: there is nothing to copy from until it has\n", m.TopicPartition); err != nil {
				return err
			}
		}
	}
	agreed, err := a.propose(ctx, c, moves, flags)
	if err != nil || !agreed {
		return err
	}
	results, err := a.execute(ctx, c, moves, len(moves), flags.noWait)
	return errors.Join(a.printDone(results, flags.noWait), err)
}

// propose shows moves and reports whether to make them.
func (a *app) propose(ctx context.Context, c *client.Client, moves []reassignMove, flags reassignFlags) (bool, error) {
	if len(moves) > 0 {
		tps := make([]client.TopicPartition, len(moves))
		for i, m := range moves {
			tps[i] = m.TopicPartition
		}
		// brokers that are down report no sizes: the plan shows that
		sizes, _ := c.ReplicaBytes(ctx, tps...)
		setBytes(moves, sizes)
	}
	if flags.dryRun {
		return false, a.printMoves(moves)
	}
	if len(moves) == 0 {
		return false, a.printNothing()
	}
	if !a.json() {
		if err := a.showMoves(moves); err != nil {
			return false, err
		}
	}
	return true, a.confirm(sumMoves(moves)+". Do it?", flags.yes)
}

// printNothing prints that there is nothing to change.
func (a *app) printNothing() error {
	if a.json() {
		return a.printJSON([]resultRow{})
	}
	_, err := fmt.Fprintln(a.out, "nothing to change: all partitions are as they shall be")
	return err
}

func (a *app) printDone(results []client.PartitionResult, begun bool) error {
	if len(results) == 0 {
		return nil
	}
	return a.printResults(results, func(err error) (string, bool) {
		switch {
		case err != nil:
			return "failed", true
		case begun:
			return "under way", false
		default:
			return "done", false
		}
	})
}

// cancelReassignments cancels the named reassignments, or all that are in progress.
func (a *app) cancelReassignments(ctx context.Context, c *client.Client, args []string, file string, flags reassignFlags) error {
	underWay, err := c.Reassignments(ctx)
	if err != nil {
		return err
	}
	var tps []client.TopicPartition
	switch {
	case file != "":
		assignments, fileErr := a.assignments(nil, file)
		if fileErr != nil {
			return fileErr
		}
		for _, assignment := range assignments {
			tps = append(tps, assignment.TopicPartition)
		}
	case len(args) > 0:
		topics, topicsErr := c.Topics(ctx)
		if topicsErr != nil {
			return topicsErr
		}
		if tps, err = partitionArgs(args, topics); err != nil {
			return err
		}
	}
	if tps != nil {
		underWay = onlyNamed(underWay, tps)
	}
	if len(underWay) == 0 || flags.dryRun {
		return a.printReassignments(underWay)
	}
	if !a.json() {
		if err = a.printReassignments(underWay); err != nil {
			return err
		}
	}
	if err = a.confirm(fmt.Sprintf("Take back %s?", plural(int64(len(underWay)), "reassignment")), flags.yes); err != nil {
		return err
	}
	tps = tps[:0]
	for _, r := range underWay {
		tps = append(tps, r.TopicPartition)
	}
	results, err := c.CancelReassignments(ctx, tps...)
	if err != nil {
		return err
	}
	return a.printResults(results, func(err error) (string, bool) {
		if err != nil {
			return "failed", true
		}
		return "canceled", false
	})
}

func onlyNamed(all []client.Reassignment, tps []client.TopicPartition) (named []client.Reassignment) {
	wanted := map[client.TopicPartition]bool{}
	for _, tp := range tps {
		wanted[tp] = true
	}
	for _, r := range all {
		if wanted[r.TopicPartition] {
			named = append(named, r)
		}
	}
	return named
}

type reassignmentRow struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Replicas  []int32 `json:"replicas"`
	Adding    []int32 `json:"adding"`
	Removing  []int32 `json:"removing"`
}

func (a *app) printReassignments(all []client.Reassignment) error {
	list := make([]reassignmentRow, 0, len(all))
	rows := make([][]string, 0, len(all))
	for _, r := range all {
		list = append(list, reassignmentRow{Topic: r.Topic, Partition: r.Partition, Replicas: r.Replicas, Adding: r.Adding, Removing: r.Removing})
		rows = append(rows, []string{r.String(), int32s(r.Replicas), orAbsent(int32s(r.Adding)), orAbsent(int32s(r.Removing))})
	}
	if a.json() {
		return a.printJSON(list)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(a.out, "no reassignment is under way")
		return err
	}
	return a.printTable([]string{"PARTITION", "REPLICAS", "ADDING", "REMOVING"}, rows)
}
