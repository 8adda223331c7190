package main

import (
	"context"
	"fmt"
	"strconv"

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
			id, err := strconv.ParseInt(args[0], 10, 32)
			if err != nil || id < 0 {
				return fmt.Errorf("%q is not the id of a broker: give its number, as `varve cluster status` shows it", args[0])
			}
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				if err := c.UnregisterBroker(ctx, int32(id)); err != nil {
					return err
				}
				if a.json() {
					return a.printJSON(map[string]int64{"unregistered": id})
				}
				_, err := fmt.Fprintf(a.out, "broker %d is unregistered\n", id)
				return err
			})
		},
	}
}
