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

func newPartitionCommand(a *app) *cobra.Command {
	return group("partition", "Move partitions between brokers and elect their leaders",
		newPartitionReassignCommand(a), newPartitionMoveCommand(a), newPartitionBalanceCommand(a), newPartitionElectCommand(a))
}

// parseTopicPartition reads TOPIC:PARTITION.
func parseTopicPartition(s string) (client.TopicPartition, error) {
	at := strings.LastIndexByte(s, ':')
	if at > 0 {
		if n, err := strconv.ParseInt(s[at+1:], 10, 32); err == nil && n >= 0 {
			return client.TopicPartition{Topic: s[:at], Partition: int32(n)}, nil
		}
	}
	return client.TopicPartition{}, fmt.Errorf("%q: want TOPIC:PARTITION, such as orders:0", s)
}

// partitionArgs reads TOPIC:PARTITION, or TOPIC for all of its partitions, each partition once.
func partitionArgs(args []string, topics []client.Topic) ([]client.TopicPartition, error) {
	var tps []client.TopicPartition
	failed := make([]error, 0, len(args))
	seen := map[client.TopicPartition]bool{}
	for _, arg := range args {
		named, err := partitionsNamed(arg, topics)
		failed = append(failed, err)
		for _, tp := range named {
			if !seen[tp] {
				seen[tp] = true
				tps = append(tps, tp)
			}
		}
	}
	return tps, errors.Join(failed...)
}

func partitionsNamed(arg string, topics []client.Topic) ([]client.TopicPartition, error) {
	if strings.Contains(arg, ":") {
		tp, err := parseTopicPartition(arg)
		return []client.TopicPartition{tp}, err
	}
	for _, t := range topics {
		if t.Name != arg {
			continue
		}
		tps := make([]client.TopicPartition, len(t.Partitions))
		for i, p := range t.Partitions {
			tps[i] = client.TopicPartition{Topic: arg, Partition: p.ID}
		}
		return tps, nil
	}
	return nil, fmt.Errorf("topic %s: it does not exist (\"varve topic list\" shows what does)", arg)
}

// parseReplicas reads broker ids, the preferred leader first.
func parseReplicas(what, s string) ([]int32, error) {
	var ids []int32
	for part := range strings.SplitSeq(s, ",") {
		id, err := parseBrokerID(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("%s %s: want ids of brokers such as 1,2,3", what, s)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// resultRow is the result for one partition, as JSON.
type resultRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Result    string `json:"result"`
	Error     string `json:"error,omitempty"`
}

// printResults prints one line for each partition. word turns an error into a result; printResults
// returns the errors that word reports as failures.
func (a *app) printResults(results []client.PartitionResult, word func(error) (result string, failed bool)) error {
	list := make([]resultRow, 0, len(results))
	rows := make([][]string, 0, len(results))
	var failed []error
	for _, r := range results {
		row := resultRow{Topic: r.Topic, Partition: r.Partition}
		var bad bool
		if row.Result, bad = word(r.Err); bad {
			row.Error = r.Err.Error()
			failed = append(failed, r.Err)
		}
		list = append(list, row)
		rows = append(rows, []string{r.String(), row.Result})
	}
	var err error
	if a.json() {
		err = a.printJSON(list)
	} else {
		err = a.printTable([]string{"PARTITION", "RESULT"}, rows)
	}
	return errors.Join(append([]error{err}, failed...)...)
}

// placed is the placement of partitions: the input of plans.
type placed struct {
	topics []client.Topic
	at     map[client.TopicPartition]client.Partition
}

func readPlaced(ctx context.Context, c *client.Client) (placed, error) {
	topics, err := c.Topics(ctx)
	p := placed{topics: topics, at: map[client.TopicPartition]client.Partition{}}
	for _, t := range topics {
		for _, partition := range t.Partitions {
			p.at[client.TopicPartition{Topic: t.Name, Partition: partition.ID}] = partition
		}
	}
	return p, err
}

// readPlacement returns the placement of all partitions, the brokers, and the reassignments in
// progress.
func readPlacement(ctx context.Context, c *client.Client) (now placed, brokers []client.Broker, underWay []client.Reassignment, err error) {
	if now, err = readPlaced(ctx, c); err != nil {
		return now, nil, nil, err
	}
	cluster, err := c.Cluster(ctx)
	if err != nil {
		return now, nil, nil, err
	}
	underWay, err = c.Reassignments(ctx)
	return now, cluster.Brokers, underWay, err
}
