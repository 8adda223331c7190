package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/client"
)

// completionTimeout bounds how long a press of the tab key waits for a broker.
const completionTimeout = 2 * time.Second

// lister reads names from the cluster.
type lister func(context.Context, *client.Client) ([]string, error)

// completeNames lets the shell complete arguments with names of the cluster. `varve completion
// bash|zsh|fish` prints the script that a shell needs for it.
func (a *app) completeNames(root *cobra.Command) error {
	for path, c := range map[string]struct {
		names lister
		most  int // how many arguments are names
	}{
		"topic describe": {topicNames, anyNumber}, "topic delete": {topicNames, anyNumber}, "tier status": {topicNames, anyNumber},
		"produce": {topicNames, 1}, "consume": {topicNames, 1}, "group describe": {groupNames, anyNumber},
	} {
		cmd, _, err := root.Find(strings.Fields(path))
		if err != nil {
			return err
		}
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if c.most != anyNumber && len(args) >= c.most {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.names(cmd.Context(), c.names, args)
		}
		if path == "consume" {
			err = cmd.RegisterFlagCompletionFunc("group", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
				return a.names(cmd.Context(), groupNames, nil)
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// names returns the names that are not on the line yet. If no broker answers, there is nothing to
// complete.
func (a *app) names(ctx context.Context, list lister, have []string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	var known []string
	err := a.with(ctx, func(ctx context.Context, c *client.Client) (err error) {
		known, err = list(ctx, c)
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return slices.DeleteFunc(known, func(name string) bool { return slices.Contains(have, name) }), cobra.ShellCompDirectiveNoFileComp
}

func topicNames(ctx context.Context, c *client.Client) (names []string, err error) {
	topics, err := c.Topics(ctx)
	for _, t := range topics {
		if !t.Internal {
			names = append(names, t.Name)
		}
	}
	return names, err
}

func groupNames(ctx context.Context, c *client.Client) (names []string, err error) {
	groups, err := c.Groups(ctx)
	for _, g := range groups {
		names = append(names, g.Name)
	}
	return names, err
}
