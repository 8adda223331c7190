package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/client"
)

// streams are the input and output of a command; tests pass their own.
type streams struct {
	in          io.Reader
	out, errOut io.Writer
}

// app has the values of the flags that every user command has.
type app struct {
	streams
	bootstrap     []string
	output        string
	timeout       time.Duration
	tls           bool
	tlsFiles      client.TLSFiles
	commandConfig string
}

const defaultBootstrap = "127.0.0.1:9092"

// newRootCommand returns the whole command tree.
func newRootCommand(s streams, version string) *cobra.Command {
	a := &app{streams: s}
	root := &cobra.Command{
		Use:   "varve",
		Short: "A Kafka-compatible log broker on two tiers: local disk and an object store",
		Example: "  varve broker start\n" +
			"  varve topic create orders --partitions 3\n" +
			"  varve consume orders --from beginning",
		SilenceErrors: true, // main prints them
		SilenceUsage:  true,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			return a.check()
		},
	}
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.errOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w (%q shows the flags)", err, cmd.CommandPath()+" --help")
	})

	bootstrap := os.Getenv("VARVE_BOOTSTRAP")
	if bootstrap == "" {
		bootstrap = defaultBootstrap
	}
	flags := root.PersistentFlags()
	flags.StringSliceVar(&a.bootstrap, "bootstrap", strings.Split(bootstrap, ","), "HOST:PORT of brokers; also from VARVE_BOOTSTRAP")
	flags.StringVar(&a.output, "output", "table", "table or json")
	flags.DurationVar(&a.timeout, "timeout", 30*time.Second, "how long to wait for a broker's answer")
	flags.BoolVar(&a.tls, "tls", false, "speak TLS with brokers; the files below imply it")
	flags.StringVar(&a.tlsFiles.CAFile, "ca-file", "", "authorities (PEM) that verify brokers (default: the system's)")
	flags.StringVar(&a.tlsFiles.CertFile, "cert-file", "", "certificate (PEM) of this client")
	flags.StringVar(&a.tlsFiles.KeyFile, "key-file", "", "key (PEM) of --cert-file")
	flags.StringVar(&a.commandConfig, "command-config", os.Getenv("VARVE_COMMAND_CONFIG"), "properties file as of Kafka's tools, with security.protocol and ssl.…; also from VARVE_COMMAND_CONFIG")

	addGroups(root,
		commandGroup{"run", "Run:", []*cobra.Command{newBrokerCommand(a)}},
		commandGroup{"data", "Data:", []*cobra.Command{newTopicCommand(a), newProduceCommand(a), newConsumeCommand(a), newGroupCommand(a)}},
		commandGroup{"cluster", "Cluster:", []*cobra.Command{newClusterCommand(a), newPartitionCommand(a), newConfigCommand(a)}},
		commandGroup{"inspect", "Inspect:", []*cobra.Command{newTierCommand(a), newLogCommand(a)}},
	)
	root.AddCommand(newVersionCommand(a, version))
	if err := a.completeNames(root); err != nil {
		panic(err) // a command of the table does not exist
	}
	return root
}

func (a *app) check() error {
	if a.output != "table" && a.output != "json" {
		return fmt.Errorf("--output %s: want table or json", a.output)
	}
	if a.timeout <= 0 {
		return fmt.Errorf("--timeout %v: want a positive duration such as 30s", a.timeout)
	}
	empty := func(address string) bool { return strings.TrimSpace(address) == "" }
	if len(a.bootstrap) == 0 || slices.ContainsFunc(a.bootstrap, empty) {
		return fmt.Errorf("--bootstrap %q: want HOST:PORT", strings.Join(a.bootstrap, ","))
	}
	return nil
}

func (a *app) json() bool { return a.output == "json" }

// connect opens a client of the cluster; the caller closes it.
func (a *app) connect(options ...kgo.Opt) (*client.Client, error) {
	secure, err := a.secure()
	if err != nil {
		return nil, err
	}
	return client.Open(client.Options{Bootstrap: a.bootstrap, ClientID: "varve-cli", Timeout: a.timeout, TLS: secure}, options...)
}

// secure returns the TLS configuration, or nil for plain TCP. Flags take precedence over the file
// from the environment.
func (a *app) secure() (*tls.Config, error) {
	if a.tls || a.tlsFiles != (client.TLSFiles{}) {
		if a.commandConfig != "" && a.commandConfig != os.Getenv("VARVE_COMMAND_CONFIG") {
			return nil, errors.New("--command-config says how to speak TLS: leave it out, or --tls, --ca-file, --cert-file and --key-file")
		}
		return a.tlsFiles.Config()
	}
	if a.commandConfig != "" {
		return client.ReadCommandConfig(a.commandConfig)
	}
	return nil, nil
}

// with runs f with a client and closes it.
func (a *app) with(ctx context.Context, f func(context.Context, *client.Client) error, options ...kgo.Opt) error {
	c, err := a.connect(options...)
	if err != nil {
		return err
	}
	defer c.Close()
	return f(ctx, c)
}

// partial prints the results of a call that also failed. If there are no results, it only returns
// the failure.
func partial[T any](found []T, failure error, print func([]T) error) error {
	if failure != nil && len(found) == 0 {
		return failure
	}
	return errors.Join(print(found), failure)
}

// takes returns a check of how many arguments a command has. what describes them.
func takes(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < least || (most >= 0 && len(args) > most) {
			return fmt.Errorf("%q takes %s, got %d arguments", cmd.CommandPath(), what, len(args))
		}
		return nil
	}
}

const anyNumber = -1

// commandGroup is a part of the list of commands that the help shows.
type commandGroup struct {
	id, title string
	commands  []*cobra.Command
}

// addGroups adds commands below a title for each group.
func addGroups(root *cobra.Command, groups ...commandGroup) {
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.id, Title: g.title})
		for _, cmd := range g.commands {
			cmd.GroupID = g.id
			root.AddCommand(cmd)
		}
	}
}

// group returns a command that only has subcommands.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		return cmd.Help()
	}}
	cmd.AddCommand(commands...)
	return cmd
}
