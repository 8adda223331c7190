package main

import (
	"fmt"
	"log/slog"
	"os"
	"runtime"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/server"
)

// newBrokerCommand returns `varve broker`: the product itself.
func newBrokerCommand(a *app) *cobra.Command {
	start := &cobra.Command{
		Use: "start", Short: "Start a broker, by default with everything it needs embedded", Args: cobra.NoArgs,
	}
	flags := config.BindBroker(start.Flags())
	level := start.Flags().String("log-level", "info", "debug, info, warn or error")
	start.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := flags.Load(os.Environ())
		if err != nil {
			return err
		}
		log, err := newLogger(a.streams, *level)
		if err != nil {
			return err
		}
		moreProcs()
		return server.Run(cmd.Context(), server.Options{Config: cfg, Logger: log, Version: buildVersion(), Ready: func(r server.Ready) {
			_, _ = fmt.Fprintf(a.out, "varve %s ready: kafka %s, http %s, cluster %s, node %d, object store %s, in %d ms\n",
				buildVersion(), r.Kafka, r.HTTP, r.ClusterID, cfg.NodeID, r.ObjectStore, r.Took.Milliseconds())
		}})
	}
	return group("broker", "Run a broker", start, newHealthCommand(a))
}

// moreProcs lets twice as many threads run Go code as there are CPUs, unless GOMAXPROCS is set. A
// broker spends most of its time in system calls that take longer than 20 µs. After that time the
// runtime takes the processor from the thread if no other processor is idle. With spare processors
// the thread keeps its own, and the monitor that looks for such threads sleeps (ADR 12 has the
// figures).
func moreProcs() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(2 * runtime.GOMAXPROCS(0))
	}
}

// newLogger logs text to a terminal and JSON to anything else.
func newLogger(s streams, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %s: want debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	if f, ok := s.errOut.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return slog.New(slog.NewTextHandler(s.errOut, options)), nil
	}
	return slog.New(slog.NewJSONHandler(s.errOut, options)), nil
}
