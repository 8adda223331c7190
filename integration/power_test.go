package integration

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	ossignal "os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"github.com/spf13/pflag"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/integration/crashfs"
	"github.com/varvelog/varve/server"
)

// journalVariable, in the environment, makes the test binary run a broker whose logs are on a
// crashfs with its journal in that directory.
const journalVariable = "VARVE_TEST_JOURNAL"

// command returns the command of the process: the built binary, or this one as a broker that can
// lose power.
func (p *process) command(flags ...string) *exec.Cmd {
	args := slices.Concat(p.args, flags)
	if p.journal == "" {
		cmd := exec.Command(cmp.Or(p.binary, varveBinary), args...)
		cmd.Env = append(os.Environ(), p.env...)
		return cmd
	}
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), journalVariable+"="+p.journal)
	return cmd
}

// runBroker is `varve broker start` on a crashfs.
func runBroker(journal string, args []string) (status int) {
	ctx, stop := ossignal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serveOn(ctx, journal, args); err != nil {
		fmt.Fprintf(os.Stderr, "varve: %s\n", err)
		return 1
	}
	return 0
}

func serveOn(ctx context.Context, journal string, args []string) error {
	flagSet := pflag.NewFlagSet("broker start", pflag.ContinueOnError)
	flags := config.BindBroker(flagSet)
	if err := flagSet.Parse(args[2:]); err != nil { // after "broker start"
		return err
	}
	cfg, err := flags.Load(os.Environ())
	if err != nil {
		return err
	}
	fsys, err := crashfs.Open(journal)
	if err != nil {
		return err
	}
	return server.Run(ctx, server.Options{
		Config: cfg, Logger: slog.New(slog.NewJSONHandler(os.Stderr, nil)), Version: "test", FS: fsys,
		Ready: func(r server.Ready) {
			_, _ = fmt.Fprintf(os.Stdout, "varve test ready: kafka %s, http %s, node %d\n", r.Kafka, r.HTTP, cfg.NodeID)
		},
	})
}

// startPowered starts three brokers that can lose power.
func startPowered(t *testing.T, flags ...string) []*process {
	t.Helper()
	brokers := clusterOf(t, func(int) []string { return flags })
	for _, p := range brokers {
		p.journal = p.dataDir + ".journal"
	}
	startTogether(t, brokers)
	return brokers
}

// losePower ends the process like a crash of its machine: its logs keep only their synced data. It
// returns the loss, in bytes and in changes of names.
func (p *process) losePower(t *testing.T) (bytes int64, names int) {
	t.Helper()
	p.kill9(t)
	bytes, names, err := crashfs.LosePower(p.journal, logDirs(t, p.dataDir)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("lost with the power of %s: %d bytes, %d changes of names", p.bootstrap, bytes, names)
	if err = bootAgain(p.dataDir); err != nil {
		t.Fatal(err)
	}
	return bytes, names
}

// logDirs returns the directories of logs below a data directory. Other files there are not written
// through the journal. It knows files by their inodes, and those of deleted log files are reused.
func logDirs(t *testing.T, dataDir string) (dirs []string) {
	t.Helper()
	entries, err := os.ReadDir(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.IsDir() && e.Name() != "etcd" {
			dirs = append(dirs, filepath.Join(dataDir, e.Name()))
		}
	}
	return dirs
}

// bootAgain makes a broker that checks find that the machine has rebooted since its registration.
func bootAgain(dataDir string) error {
	for _, pattern := range []string{"last-registration", "*/last-registration"} {
		names, err := filepath.Glob(filepath.Join(dataDir, pattern))
		if err != nil {
			return err
		}
		for _, name := range names {
			if err = markBoot(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func markBoot(name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	var mark map[string]json.RawMessage
	if err = json.Unmarshal(text, &mark); err != nil {
		return err
	}
	mark["boot_id"] = json.RawMessage(`"of the machine's next start"`)
	if text, err = json.Marshal(mark); err != nil {
		return err
	}
	return os.WriteFile(name, text, 0o600)
}
