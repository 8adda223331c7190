package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/client"
)

func newClusterUnregisterCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "unregister BROKER", Short: "Forget a broker that is gone for good", Args: takes(1, 1, "the id of a broker"),
		Long: "Forget a broker that has been stopped and will not come back: it is shown no longer, and gets no replicas of new topics.\n\n" +
			"A broker that is down counts as one of the cluster until then, so that a topic which is created meanwhile has all its replicas\n" +
			"when it is back. Replicas that it has already stay: move them with `varve partition balance --remove-broker` first.",
		Example: "  varve cluster unregister 4",
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := parseBrokerID(args[0])
			if err != nil {
				return err
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				if err := c.UnregisterBroker(ctx, id); err != nil {
					return err
				}
				if a.json() {
					return a.printJSON(map[string]int32{"unregistered": id})
				}
				_, err := fmt.Fprintf(a.out, "broker %d is unregistered\n", id)
				return err
			})
		},
	}
}
