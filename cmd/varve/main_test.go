package main

import (
	"bytes"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run executes a command line and returns its output.
func run(t *testing.T, stdin string, args ...string) (out, errOut string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	root := newRootCommand(streams{in: strings.NewReader(stdin), out: &stdout, errOut: &stderr}, "1.2.3")
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

func TestVersion(t *testing.T) {
	if out, _, err := run(t, "", "version"); err != nil || !strings.HasPrefix(out, "varve 1.2.3 (go") {
		t.Errorf("got %q, %v", out, err)
	}
	if out, _, err := run(t, "", "version", "--output", "json"); err != nil || !strings.Contains(out, `"version": "1.2.3"`) {
		t.Errorf("got %q, %v", out, err)
	}
}

// TestHelpGroupsCommands: a newcomer sees first how to run a broker, then what is done with data.
func TestHelpGroupsCommands(t *testing.T) {
	out, _, err := run(t, "", "--help")
	at := 0
	for _, want := range []string{
		"Examples:", "varve broker start", "varve topic create orders", "varve consume orders",
		"Run:", "  broker ", "Data:", "  topic ", "Cluster:", "  partition ", "Inspect:", "  log ", "Additional Commands:", "  version ",
	} {
		i := strings.Index(out[at:], want)
		if i < 0 {
			t.Fatalf("%q is not in its place, %v:\n%s", want, err, out)
		}
		at += i
	}
}

// TestCommandLineMistakes: contradictory arguments are rejected before anything is sent, in one
// line that names the cause.
func TestCommandLineMistakes(t *testing.T) {
	t.Setenv("VARVE_BOOTSTRAP", "127.0.0.1:1")
	for line, want := range map[string]string{
		"frob":                      `unknown command "frob"`,
		"topic frob":                `unknown command "frob"`,
		"topic create":              `"varve topic create" takes the NAME of a topic, got 0 arguments`,
		"topic create a b":          "got 2 arguments",
		"topic create a --config x": "--config x: want KEY=VALUE",
		"topic create a --config x=1 --config x=2": "x is given twice",
		"topic create a --partitions many":         "--partitions",
		"topic describe":                           "the NAMEs of topics",
		"topic list --output yaml":                 "--output yaml: want table or json",
		"topic list --timeout 0s":                  "--timeout 0s",
		"topic list --bootstrap=":                  "want HOST:PORT",
		"produce":                                  "one TOPIC",
		"produce t --acks 2":                       "--acks 2: want all, 1 or 0",
		"produce t --compression rar":              "--compression rar: want one of gzip, lz4, none, snappy, zstd",
		"produce t --partition -2":                 "--partition -2",
		"produce t -H novalue":                     "--header novalue: want KEY=VALUE",
		"produce t --file /does/not/exist":         "/does/not/exist",
		"consume t --from yesterday":               "--from yesterday: want beginning, end, an offset, or @TIME",
		"consume t --from @yesterday":              `"yesterday" is not a time`,
		"consume t --until 7":                      `--until 7: only "end" is possible`,
		"consume t --until end --group g":          "leave one out",
		"consume t --partition 1 --group g":        "leave out --partition",
		"consume t -n -1":                          "--count -1",
		"consume t -f %q":                          "--format has %q",
		"consume t -f 100%":                        "--format ends in %",
		"group describe":                           "the NAMEs of groups",
		"config describe":                          `"broker" for the whole cluster`,
		"config describe planet earth":             `unknown target "planet"`,
		"config describe topic":                    "name the topic",
		"config describe broker one":               "broker one: want a broker's number",
		"config set topic t":                       "nothing to change",
		"config set topic a=b":                     "name the topic",
		"config set topic t retention.ms":          "setting retention.ms: want KEY=VALUE",
		"cluster status x":                         "no arguments",
		"cluster upgrade x":                        "no arguments",
		"partition move t:0":                       "--to : want ids of brokers",
		"partition move --to 1":                    "TOPIC:PARTITIONs",
		"partition reassign":                       "name partitions",
		"partition reassign --list --all":          "--list takes nothing else",
		"partition reassign --all":                 "--all is for --cancel",
		"partition reassign t:0=1 --file f":        "leave one out",
		"partition reassign t:0":                   "t:0: want TOPIC:PARTITION=BROKER",
		"partition reassign t=1":                   `"t": want TOPIC:PARTITION`,
		"partition reassign t:0=1 t:0=2":           "t:0 is there twice",
		"partition reassign t:0=one":               "t:0: one: want ids of brokers",
		"partition balance --batch 0":              "--batch 0: want at least 1",
		"partition elect":                          "name partitions",
		"partition elect t --all":                  "leave one out",
		"partition elect t --preferred --unclean":  "leave one out",
		"log dump":                                 "takes FILEs",
		"log dump /does/not/exist.log":             "/does/not/exist.log",
		"log dump main.go":                         "want a .log, .index, .timeindex, .txnindex or .snapshot file",
		"log strays":                               "takes DIRs",
		"log strays /does/not/exist":               "/does/not/exist",
		"log strays restore":                       "takes PATHs",
		"log strays restore /does/not/exist":       "its name ends in -stray",
		"topic list":                               "no broker at 127.0.0.1:1",
	} {
		out, _, err := run(t, "", strings.Fields(line)...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || out != "" {
			t.Errorf("varve %s\n got %q, output %q\nwant %q", line, err, out, want)
		}
	}
}
