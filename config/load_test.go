package config

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// load combines settings as the process does; file is a YAML document, "" for none.
func load(t *testing.T, file string, environ []string, args ...string) (Broker, error) {
	t.Helper()
	fs := pflag.NewFlagSet("broker start", pflag.ContinueOnError)
	flags := BindBroker(fs)
	if file != "" {
		name := filepath.Join(t.TempDir(), "varve.yaml")
		if err := os.WriteFile(name, []byte(file), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--config", name)
	}
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags.Load(environ)
}

func mustLoad(t *testing.T, file string, environ []string, args ...string) Broker {
	t.Helper()
	b, err := load(t, file, environ, args...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLoadWithoutAnything(t *testing.T) {
	t.Chdir(t.TempDir())
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	want := Broker{
		DataDir: dir + "/varve-data", NodeID: 1, Listen: []Endpoint{{"PLAINTEXT", "127.0.0.1:9092"}}, Advertise: []Endpoint{{"PLAINTEXT", "127.0.0.1:9092"}}, HTTP: "127.0.0.1:9644",
		ObjectStore: "file://" + dir + "/varve-data/objects", Cluster: "varve", Tracing: Tracing{Ratio: 0.01}, Set: map[string]string{},
	}
	if got := mustLoad(t, "", nil); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestLoadPrecedence(t *testing.T) {
	const file = `
node-id: 10
rack: file
cluster: file
etcd: [http://a:2379, http://b:2379]
object-store: s3://b
set:
  num.partitions: 10
  log.retention.hours: 10
  log.roll.hours: 10
  log.cleanup.policy: [delete]
`
	environ := []string{
		"VARVE_NODE_ID=20", "VARVE_RACK=env", "VARVE_LOG_RETENTION_HOURS=20", "VARVE_SET=log.roll.hours=20 delete.topic.enable=false log.retention.hours=21",
		"VARVE_TIER_CHUNK_BYTES=131072", "PATH=/bin", "VARVE_LONG=1", "VARVE_SERVICE_HOST=10.0.0.1", "VARVE_PORT=tcp://10.0.0.1:9092", "VARVE_BOOTSTRAP=x",
	}
	got := mustLoad(t, file, environ, "--node-id", "30", "--set", "log.roll.hours=30", "--set=log.roll.hours=31")
	if got.NodeID != 30 || got.Rack != "env" || got.Cluster != "file" || len(got.Etcd) != 2 || got.Etcd[1] != "http://b:2379" {
		t.Errorf("%+v", got)
	}
	want := map[string]string{
		"num.partitions": "10", "log.retention.hours": "20", "log.roll.hours": "31", "log.cleanup.policy": "delete",
		"delete.topic.enable": "false", "varve.tier.chunk.bytes": "131072",
	}
	if !maps.Equal(got.Set, want) {
		t.Errorf("%v", got.Set)
	}
	static := got.Static()
	for key, value := range map[string]string{
		"node.id": "30", "broker.rack": "env", "num.partitions": "10", "log.dirs": got.DataDir + "/logs",
		"listeners": "PLAINTEXT://127.0.0.1:9092", "advertised.listeners": "PLAINTEXT://127.0.0.1:9092",
	} {
		if static[key] != value {
			t.Errorf("%s is %q in the static layer", key, static[key])
		}
	}
	if err := (Layers{Static: static}).ValidateStatic(); err != nil {
		t.Errorf("the static layer: %v", err)
	}
}

func TestLogDirs(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, environ, args string
		want                string
	}{
		{"", "", "", here + "/varve-data/logs"},
		{"", "", "--data-dir=/x", "/x/logs"},
		{"", "", "--set=log.dirs=/a,b", "/a," + here + "/b"},
		{"", "", "--set=log.dir=/c", "/c"},
		{"", "VARVE_LOG_DIRS=/a,/b", "--set=log.dir=/c", "/a,/b"},
		{"set:\n  log.dirs: [/a, /b/../d]", "", "", "/a,/d"},
	} {
		b := mustLoad(t, c.file, strings.Fields(c.environ), strings.Fields(c.args)...)
		if got := strings.Join(b.LogDirs(), ","); got != c.want || b.Static()["log.dirs"] != c.want {
			t.Errorf("%s%s%s: %s, shown as %s", c.file, c.environ, c.args, got, b.Static()["log.dirs"])
		}
	}
}

func TestLoadFileNamedByTheEnvironment(t *testing.T) {
	name := filepath.Join(t.TempDir(), "varve.yaml")
	if err := os.WriteFile(name, []byte("rack: r"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := mustLoad(t, "", []string{"VARVE_CONFIG=" + name}); got.Rack != "r" {
		t.Errorf("%+v", got)
	}
	if got := mustLoad(t, "# nothing", nil); got.NodeID != 1 {
		t.Errorf("%+v", got)
	}
	if _, err := load(t, "", nil, "--config", name+".missing"); err == nil || !strings.Contains(err.Error(), "read the settings file") {
		t.Errorf("%v", err)
	}
}

func TestLoadReportsAllProblems(t *testing.T) {
	for _, c := range []struct {
		file, environ, args string
		want                []string // one for each problem, in any order
	}{
		{"", "", "--trace=collector:4318 --trace-ratio=NaN", []string{`--trace "collector:4318": must be a URL`, `--trace-ratio "NaN": must be a number from 0 to 1`}},
		{"", "", "--node-id=x --http=nowhere --cluster=a/b", []string{`--node-id "x": must be a number`, `--http "nowhere": must be HOST:PORT`, `--cluster "a/b"`}},
		{"", "", "--node-id=-1", []string{"--node-id"}},
		{"", "", "--listen=127.0.0.1:99999", []string{`--listen "127.0.0.1:99999": the port must be a number from 0 to 65535`}},
		{"", "", "--listen=0.0.0.0:9092", []string{"--listen 0.0.0.0:9092 accepts clients on all addresses, but they must be told one: add --advertise"}},
		{"", "", "--listen=:9092", []string{"add --advertise"}},
		{"", "", "--listen=[::]:9092", []string{"add --advertise"}},
		{"", "", "--advertise=0.0.0.0:9092", []string{"must name a host that clients can reach"}},
		{"", "", "--advertise=host:0", []string{"from 1 to 65535"}},
		{"", "", "--object-store=/var/objects", []string{`--object-store "/var/objects": must be a URL such as file:///`}},
		{"", "", "--object-store=s3://key:pass@[bucket", []string{`--object-store "s3://***@[bucket"`}},
		{"", "", "--etcd=10.0.0.1:2379", []string{"must be a URL such as http://HOST:PORT"}},
		{"", "", "--nats=nats://u:secret@", []string{"nats://***@ must be a URL"}},
		{"", "", "--set=num.partitions --set==3", []string{`--set "num.partitions": must be KEY=VALUE`, `--set "=3"`}},
		{"", "", "--set=num.partition=3", []string{"unknown configuration: num.partition (of a broker): did you mean num.partitions?"}},
		{"", "", "--set=num.partitions=0 --set=log.segment.bytes=x", []string{"Invalid value 0 for configuration num.partitions", "Invalid value x for configuration log.segment.bytes"}},
		{"", "", "--set=node.id=3 --set=broker.rack=x", []string{"node.id is set with --node-id", "broker.rack is set with --rack"}},
		{"", "", "--set=log.dirs=/a,/b,/a/ --set=log.dir=", []string{"Invalid value /a,/b,/a/ for configuration log.dirs: /a/ is there twice", "at least one directory must be named"}},
		{"", "", "--set=ssl.engine.factory.class=/x", []string{"not supported yet: ssl.engine.factory.class"}},
		{"", "", "--seeds=1", []string{`"1" must be N=HOST:PORT`}},
		{"", "", "--seeds=1=h:1,1=h:2", []string{"broker 1 is there twice"}},
		{"", "", "--seeds=2=h:1 --control=h:2 --object-store=s3://b", []string{"broker 1 is not one of --seeds"}},
		{"", "", "--seeds=1=h:65534", []string{`"1=h:65534" must be N=HOST:PORT`}},
		{"", "", "--control=h:065534", []string{"the two after it are used as well"}},
		{"", "", "--control=h:65534", []string{"the two after it are used as well"}},
		{"", "", "--found", []string{"--found is for a broker that is one of --seeds"}},
		{"", "", "--seeds=2=h:1 --found --object-store=s3://b", []string{"--found is for a broker that is one of --seeds"}},
		{"", "", "--control=h:1", []string{"--control is this broker's place among --seeds"}},
		{"", "", "--seeds=1=h:1 --etcd=http://h:2379 --object-store=s3://b", []string{"--etcd and --seeds"}},
		{"", "", "--seeds=1=h:1", []string{"--object-store is missing: with --seeds or --etcd there may be several brokers, which share one bucket"}},
		{"", "", "--etcd=http://h:2379", []string{"--object-store is missing"}},
		{"", "VARVE_NODE_ID=x VARVE_DATADIR=/x", "", []string{`environment variable VARVE_NODE_ID "x"`, "environment variable VARVE_DATADIR is not a setting: did you mean VARVE_DATA_DIR?"}},
		{"", "VARVE_LOG_SEGMENTBYTES=1", "", []string{"did you mean VARVE_LOG_SEGMENT_BYTES?"}},
		{"node-id: x\nlog.segment.bytes: 5", "", "", []string{`varve.yaml:1: node-id "x": must be a number`, `varve.yaml:2: unknown configuration: log.segment.bytes: broker configurations stand under "set"`}},
		{"data_dir: /x", "", "", []string{"varve.yaml:1: unknown configuration: data_dir: did you mean data-dir?"}},
		{"rack: a\nrack: b", "", "", []string{"varve.yaml:2: rack is there twice"}},
		{"rack: [a]\nlisten: {a: b}\nset:\n  x: {y: z}", "", "", []string{"varve.yaml:1: rack: must be a single value", "varve.yaml:2: listen: must be a value or a list of values", "varve.yaml:4: x: must be a value or a list of values"}},
		{"set: 5", "", "", []string{"varve.yaml:1: must be a mapping"}},
		{"- a", "", "", []string{"must be a mapping"}},
		{"a: b: c", "", "", []string{"read the settings file"}},
		{"rack: a\n---\nrack: b", "", "", []string{"must hold one document"}},
		{"set:\n  num.partitions: 0", "", "", []string{"Invalid value 0 for configuration num.partitions"}},
	} {
		_, err := load(t, c.file, strings.Fields(c.environ), strings.Fields(c.args)...)
		problems := split(err)
		if len(problems) != len(c.want) {
			t.Errorf("%s%s%s: %q", c.file, c.environ, c.args, problems)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s%s%s: %q, not %q", c.file, c.environ, c.args, problems, want)
			}
		}
		if strings.Contains(fmt.Sprint(err), "pass") || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("a secret is shown: %v", err)
		}
	}
}

func TestLoadKeepsURLsAsTheyAre(t *testing.T) {
	const store = "s3://varve?endpoint=http://127.0.0.1:9000&region=us-east-1&path_style=true"
	if b := mustLoad(t, "", nil, "--object-store", store); b.ObjectStore != store {
		t.Errorf("%s", b.ObjectStore)
	}
	b := mustLoad(t, "", nil, "--data-dir", "/a dir/with%20signs")
	if b.ObjectStore != "file:///a%20dir/with%2520signs/objects" {
		t.Errorf("%s", b.ObjectStore)
	}
}

func TestAdvertisedAddress(t *testing.T) {
	bound := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 4711}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--listen", "127.0.0.1:0"}, "127.0.0.1:4711"},
		{[]string{"--listen", "localhost:0"}, "localhost:4711"},
		{[]string{"--listen", "127.0.0.1:9092"}, "127.0.0.1:9092"},
		{[]string{"--listen", "0.0.0.0:0", "--advertise", "broker.example.com:9092"}, "broker.example.com:9092"},
	} {
		if got, ok := mustLoad(t, "", nil, c.args...).Advertised("PLAINTEXT", bound); !ok || got.Address != c.want {
			t.Errorf("%v: %s, not %s", c.args, got, c.want)
		}
	}
}

// TestEnvironmentNamesDiffer: no two settings share an environment variable.
func TestEnvironmentNamesDiffer(t *testing.T) {
	seen := map[string]string{envName(configSetting): configSetting, envName(setSetting): setSetting}
	names := []string{}
	for _, s := range brokerSettings {
		names = append(names, s.name)
	}
	for _, k := range brokerTable.keys {
		if k.Setting == "" {
			names = append(names, k.Name)
		}
	}
	for _, name := range names {
		env := envName(name)
		if seen[env] != "" {
			t.Errorf("%s and %s are both %s", seen[env], name, env)
		}
		seen[env] = name
	}
}

func TestFlagsExplainThemselves(t *testing.T) {
	fs := pflag.NewFlagSet("broker start", pflag.ContinueOnError)
	BindBroker(fs)
	usage := fs.FlagUsages()
	for _, want := range []string{
		"--config FILE", "--data-dir DIR", `(default ./varve-data)`, "--node-id N", "(default 1)", "--listen HOST:PORT", "--set KEY=VALUE", "--seeds N=HOST:PORT,…",
	} {
		if !strings.Contains(usage, want) {
			t.Errorf("the help lacks %q:\n%s", want, usage)
		}
	}
}

func TestAccessToExternalServers(t *testing.T) {
	b := mustLoad(t, "etcd: https://h:2379\nobject-store: s3://b\netcd-ca-file: ca\nnats: tls://h:4222\nnats-ca-file: nca\n", []string{"VARVE_ETCD_PASSWORD=hunter2"},
		"--etcd-user=u", "--etcd-cert-file=c", "--etcd-key-file=k", "--nats-creds-file=nc", "--nats-cert-file=ncert", "--nats-key-file=nkey")
	if want := (EtcdAccess{CAFile: "ca", CertFile: "c", KeyFile: "k", User: "u", Password: "hunter2"}); b.EtcdAccess != want {
		t.Error("etcd: not as given")
	}
	if want := (NATSAccess{CredsFile: "nc", CAFile: "nca", CertFile: "ncert", KeyFile: "nkey"}); b.NATSAccess != want {
		t.Errorf("NATS: %+v", b.NATSAccess)
	}
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("settings", slog.Any("broker", b), slog.Any("password", b.EtcdAccess.Password))
	for _, text := range []string{fmt.Sprint(b), fmt.Sprintf("%+v %#v", b, b), logged.String()} {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, "***") {
			t.Errorf("the password is shown: %s", text)
		}
	}
	for args, want := range map[string]string{
		"--etcd-user=u --etcd-password=hunter2":                          "are for an external etcd",
		"--http-cert-file=c":                                             "--http-cert-file and --http-key-file belong together",
		"--http-client-ca-file=c":                                        "--http-client-ca-file needs --http-cert-file",
		"--seeds=1=h:1 --control-ca-file=c":                              "--control-cert-file, --control-key-file and --control-ca-file belong together",
		"--control-ca-file=c --control-cert-file=d --control-key-file=e": "are for the control plane of --seeds: add --seeds",
		"--seeds=1=h:1 --etcd-ca-file=c":                                 "are for an external etcd",
		"--nats-creds-file=c":                                            "are for external NATS servers",
		"--etcd=https://h:1 --etcd-cert-file=c":                          "--etcd-cert-file and --etcd-key-file belong together",
		"--nats=nats://h:1 --nats-key-file=c":                            "--nats-cert-file and --nats-key-file belong together",
		"--etcd=http://h:1 --etcd-user=u":                                "--etcd-user and --etcd-password belong together",
		"--etcd=http://h:1 --etcd-password=hunter2":                      "--etcd-user and --etcd-password belong together",
		"--etcd=https://g:1,http://h:1 --etcd-ca-file=c":                 "--etcd http://h:1: files for TLS are given",
		"--etcd=http://u:hunter2@h:1 --etcd-ca-file=c":                   "--etcd http://***@h:1: files for TLS",
		"--etcd=http://u:hunter2@h:1":                                    "--etcd http://***@h:1: the user does not belong",
		"--etcd=https://h:1 --etcd-ca-file=c --seeds=1=g:1 --node-id=1":  "--etcd and --seeds",
	} {
		_, err := load(t, "", nil, strings.Fields(args)...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", args, err)
		}
	}
	if b = mustLoad(t, "", nil, "--seeds=1=h:1", "--found", "--object-store=s3://b"); !b.Found {
		t.Errorf("%+v", b)
	}
	if b = mustLoad(t, "", nil, "--seeds=1=h:1", "--object-store=s3://b", "--nats=nats://h:1", "--nats-creds-file=c"); b.Control != "h:1" || len(b.NATS) != 1 {
		t.Errorf("an embedded etcd beside external NATS: %+v", b)
	}
}

func TestPprofIsASwitch(t *testing.T) {
	for _, tc := range []struct {
		file    string
		environ []string
		args    []string
		want    bool
	}{
		{"", nil, nil, false},
		{"", nil, []string{"--pprof"}, true},
		{"", nil, []string{"--pprof=true"}, true},
		{"", []string{"VARVE_PPROF=true"}, nil, true},
		{"", []string{"VARVE_PPROF=true"}, []string{"--pprof=false"}, false},
		{"pprof: true\n", nil, nil, true},
	} {
		if b := mustLoad(t, tc.file, tc.environ, tc.args...); b.Pprof != tc.want {
			t.Errorf("%q %v %v: %t", tc.file, tc.environ, tc.args, b.Pprof)
		}
	}
	if _, err := load(t, "", []string{"VARVE_PPROF=perhaps"}); err == nil || !strings.Contains(err.Error(), "VARVE_PPROF") || !strings.Contains(err.Error(), "true or false") {
		t.Errorf("VARVE_PPROF=perhaps: %v", err)
	}
}
