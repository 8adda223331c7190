package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/client"
)

func newGroupCommand(a *app) *cobra.Command {
	return group("group", "List and describe consumer groups", newGroupListCommand(a), newGroupDescribeCommand(a))
}

type groupRow struct {
	Name         string `json:"name"`
	State        string `json:"state"`
	ProtocolType string `json:"protocol_type"`
	Coordinator  int32  `json:"coordinator"`
}

func newGroupListCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List groups", Args: takes(0, 0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				groups, err := c.Groups(ctx)
				return partial(groups, err, a.printGroups)
			})
		},
	}
}

func (a *app) printGroups(groups []client.GroupListing) error {
	list := make([]groupRow, 0, len(groups))
	rows := make([][]string, 0, len(groups))
	for _, g := range groups {
		list = append(list, groupRow(g))
		rows = append(rows, []string{g.Name, g.State, g.ProtocolType, strconv.Itoa(int(g.Coordinator))})
	}
	if a.json() {
		return a.printJSON(list)
	}
	return a.printTable([]string{"GROUP", "STATE", "TYPE", "COORDINATOR"}, rows)
}

func newGroupDescribeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "describe NAME…", Short: "Show members, assignments and lag", Args: takes(1, anyNumber, "the NAMEs of groups"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				groups, err := c.DescribeGroups(ctx, args...)
				return partial(groups, err, a.printGroupDescriptions)
			})
		},
	}
}

type groupDescription struct {
	Name        string              `json:"name"`
	State       string              `json:"state"`
	Assignor    string              `json:"assignor"`
	Coordinator int32               `json:"coordinator"`
	Members     []groupMember       `json:"members"`
	Partitions  []groupPartitionRow `json:"partitions"`
}

type groupMember struct {
	ID         string `json:"id"`
	InstanceID string `json:"instance_id,omitempty"`
	ClientID   string `json:"client_id"`
	Host       string `json:"host"`
}

type groupPartitionRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"`
	End       *int64 `json:"end"`
	Lag       *int64 `json:"lag"`
	Member    string `json:"member,omitempty"`
	Error     string `json:"error,omitempty"`
}

func (a *app) printGroupDescriptions(groups []client.Group) error {
	descriptions := make([]groupDescription, len(groups))
	for i, g := range groups {
		descriptions[i] = describeGroup(g)
	}
	if a.json() {
		return a.printJSON(descriptions)
	}
	for i, g := range groups {
		if i > 0 {
			if _, err := fmt.Fprintln(a.out); err != nil {
				return err
			}
		}
		if err := a.printGroup(g); err != nil {
			return err
		}
	}
	return nil
}

func describeGroup(g client.Group) groupDescription {
	d := groupDescription{
		Name: g.Name, State: g.State, Assignor: g.Protocol, Coordinator: g.Coordinator,
		Members: []groupMember{}, Partitions: []groupPartitionRow{},
	}
	for _, m := range g.Members {
		d.Members = append(d.Members, groupMember(m))
	}
	for _, p := range g.Partitions {
		row := groupPartitionRow{Topic: p.Topic, Partition: p.Partition, Committed: known(p.Committed), End: known(p.End), Lag: known(p.Lag)}
		if p.Member != nil {
			row.Member = p.Member.ID
		}
		if p.Err != nil {
			row.Error = p.Err.Error()
		}
		d.Partitions = append(d.Partitions, row)
	}
	return d
}

func (a *app) printGroup(g client.Group) error {
	_, err := fmt.Fprintf(a.out, "%s  %s  coordinator %d  %s\n", g.Name, g.State, g.Coordinator, plural(int64(len(g.Members)), "member"))
	if err != nil {
		return err
	}
	rows := make([][]string, 0, len(g.Partitions))
	idle := map[string]client.GroupMember{}
	for _, m := range g.Members {
		idle[m.ID] = m
	}
	for _, p := range g.Partitions {
		row := []string{p.Topic, strconv.Itoa(int(p.Partition)), number(p.Committed), number(p.End), number(p.Lag), absent, absent}
		if p.Member != nil {
			row[5], row[6] = p.Member.ID, p.Member.Host
			delete(idle, p.Member.ID)
		}
		if p.Err != nil {
			row[4] = "error: " + p.Err.Error()
		}
		rows = append(rows, row)
	}
	for _, id := range sortedKeys(idle) { // members without a partition
		rows = append(rows, []string{absent, absent, absent, absent, absent, id, idle[id].Host})
	}
	return a.printTable([]string{"TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "MEMBER", "HOST"}, rows)
}
