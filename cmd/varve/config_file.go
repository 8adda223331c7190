package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/server"
)

// newConfigCheckCommand is in the group of user commands, although it does not contact a broker.
func newConfigCheckCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "check FILE", Short: "Check a broker's settings file", Args: takes(1, 1, "the FILE of settings"),
		Long: "Check a file for varve broker start --config as a broker would read it without flags and environment: every name, every value,\n" +
			"and what contradicts. All problems are shown at once. It asks no broker and looks at nothing that the file names.",
		Example: "  varve config check /etc/varve/varve.yaml",
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := config.LoadFile(args[0])
			if err == nil {
				err = server.Check(cfg)
			}
			if err != nil {
				return err
			}
			static := cfg.Static()
			if a.json() {
				return a.printJSON(static)
			}
			rows := make([][]string, 0, len(static))
			for _, name := range slices.Sorted(maps.Keys(static)) {
				if static[name] != "" {
					rows = append(rows, []string{name, static[name]})
				}
			}
			if _, err = fmt.Fprintf(a.out, "%s is good. Broker configurations by Kafka's names:\n", args[0]); err != nil {
				return err
			}
			return a.printTable([]string{"NAME", "VALUE"}, rows)
		},
	}
}

func newConfigDocsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "docs", Short: "Print the page of all settings, in Markdown", Args: takes(0, 0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.out, config.Markdown())
			return err
		},
	}
}
