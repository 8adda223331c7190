package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/client"
)

func newConfigCommand(a *app) *cobra.Command {
	return group("config", "Show and change settings of topics and brokers", newConfigDescribeCommand(a), newConfigSetCommand(a),
		newConfigCheckCommand(a), newConfigDocsCommand(a))
}

const configKinds = `"topic NAME", "broker ID", or "broker" for the whole cluster`

// configTarget is the resource of the settings: a topic or brokers.
type configTarget struct {
	topic   string
	brokers []int32 // none: the whole cluster
}

// parseConfigTarget reads the target from the front of the arguments.
func parseConfigTarget(args []string) (t configTarget, rest []string, err error) {
	if len(args) == 0 {
		return t, nil, errors.New("name what to configure: " + configKinds)
	}
	kind, args := args[0], args[1:]
	switch kind {
	case "topic":
		if len(args) == 0 || strings.Contains(args[0], "=") {
			return t, nil, errors.New("name the topic: topic NAME")
		}
		return configTarget{topic: args[0]}, args[1:], nil
	case "broker":
		if len(args) == 0 || strings.Contains(args[0], "=") {
			return t, args, nil
		}
		id, err := parseBrokerID(args[0])
		if err != nil {
			return t, nil, err
		}
		return configTarget{brokers: []int32{id}}, args[1:], nil
	default:
		return t, nil, fmt.Errorf("unknown target %q: want %s", kind, configKinds)
	}
}

func newConfigDescribeCommand(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "describe topic NAME | broker [ID]", Short: "Show settings", Args: takes(1, 2, configKinds),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := parseConfigTarget(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return fmt.Errorf("unexpected %q after the target", rest[0])
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				resources, err := target.describe(ctx, c)
				return partial(resources, err, func(r []client.Resource) error { return a.printConfigs(r, all) })
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "also settings that have their default")
	return cmd
}

func (t configTarget) describe(ctx context.Context, c *client.Client) ([]client.Resource, error) {
	if t.topic != "" {
		return c.TopicConfigs(ctx, t.topic)
	}
	return c.BrokerConfigs(ctx, t.brokers...)
}

type configRow struct {
	Name      string `json:"name"`
	Value     string `json:"value"`
	Source    string `json:"source"`
	Sensitive bool   `json:"sensitive,omitempty"`
}

func (a *app) printConfigs(resources []client.Resource, all bool) error {
	list := []configRow{}
	rows := [][]string{}
	for _, r := range resources {
		for _, c := range r.Configs {
			if c.Default && !all {
				continue
			}
			row := configRow{Name: c.Name, Value: c.Value, Source: c.Source, Sensitive: c.Sensitive}
			list = append(list, row)
			if c.Sensitive {
				row.Value = "(hidden)"
			}
			rows = append(rows, []string{row.Name, row.Value, row.Source})
		}
	}
	if a.json() {
		return a.printJSON(list)
	}
	return a.printTable([]string{"SETTING", "VALUE", "SET BY"}, rows)
}

func newConfigSetCommand(a *app) *cobra.Command {
	var unset []string
	cmd := &cobra.Command{
		Use: "set topic NAME | broker [ID]  KEY=VALUE…", Short: "Change settings", Args: takes(1, anyNumber, configKinds+" and KEY=VALUEs"),
		Example: "  varve config set topic layers retention.ms=86400000\n  varve config set topic layers --unset retention.ms\n" +
			"  varve config set broker log.segment.bytes=16777216",
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := parseConfigTarget(args)
			if err != nil {
				return err
			}
			change := client.ConfigChange{Unset: unset}
			if change.Set, err = keyValues("setting", rest); err != nil {
				return err
			}
			if len(change.Set)+len(change.Unset) == 0 {
				return errors.New("nothing to change: give KEY=VALUE, or --unset KEY")
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error { return target.set(ctx, a, c, change) })
		},
	}
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "KEY, which gets its default back; may be repeated")
	return cmd
}

func (t configTarget) set(ctx context.Context, a *app, c *client.Client, change client.ConfigChange) error {
	var err error
	if t.topic != "" {
		err = c.AlterTopicConfigs(ctx, t.topic, change)
	} else {
		err = c.AlterBrokerConfigs(ctx, change, t.brokers...)
	}
	if err != nil {
		return err
	}
	if a.json() {
		return a.printJSON(map[string]any{"set": change.Set, "unset": append([]string{}, change.Unset...)})
	}
	_, err = fmt.Fprintf(a.out, "changed %s\n", plural(int64(len(change.Set)+len(change.Unset)), "setting"))
	return err
}
