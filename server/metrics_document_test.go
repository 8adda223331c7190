package server

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/security/securitytest"
	"github.com/varvelog/varve/telemetry"
)

var update = flag.Bool("update", false, "write docs/metrics.md again")

// documented is one metric of docs/metrics.md.
type documented struct{ name, kind, unit, labels, help string }

// TestGeneratedMetricsDocument runs a broker that does a little of everything, and compares its
// registry with docs/metrics.md.
func TestGeneratedMetricsDocument(t *testing.T) {
	pair := securitytest.NewAuthority(t).Issue(t)
	b := startBroker(t, "--listen", "SSL://127.0.0.1:0", "--set", "ssl.keystore.location="+pair.StoreFile, "--set", "varve.tier.disk.cache.bytes=1048576")
	plain, _, _ := strings.Cut(strings.TrimPrefix(b.Kafka, "PLAINTEXT://"), ",")
	useBroker(t, plain)
	b.get(t, "/metrics") // adds the metrics of the handler
	got := metricsDocument(describe(t, b.registry))
	const file = "../docs/metrics.md"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what the registry of a broker says: run make gen and look at the difference", file)
	}
}

// TestStockNamesAreThere: every metric exists that the dashboards and alerts of kafka_exporter and
// Strimzi for Kafka use.
func TestStockNamesAreThere(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]string{ // prefixes and suffixes
		"kafka_":                 "brokers broker_info topic_partitions log_log_size log_logmanager_offlinelogdirectorycount server_socket_server_metrics_connection_count controller_controllerstats_uncleanleaderelections_total",
		"kafka_topic_partition_": "current_offset oldest_offset in_sync_replica leader leader_is_preferred replicas under_replicated_partition",
		"kafka_consumergroup_":   "current_offset current_offset_sum lag lag_sum members",
		"kafka_server_brokertopicmetrics_": "bytesin_total bytesout_total messagesin_total totalproducerequests_total totalfetchrequests_total failedproducerequests_total failedfetchrequests_total " +
			"remotefetchbytes_total remotefetchrequests_total remotefetcherrors_total remotecopybytes_total remotecopyrequests_total remotecopyerrors_total remotedeleterequests_total remotedeleteerrors_total " +
			"remotecopylagbytes remotecopylagsegments remotelogsizebytes",
		"kafka_server_replicamanager_":      "underreplicatedpartitions underminisrpartitioncount leadercount partitioncount",
		"kafka_controller_kafkacontroller_": "activecontrollercount offlinepartitionscount",
		"kafka_network_socketserver_":       "networkprocessoravgidle_percent",
		"kafka_server_":                     "kafkarequesthandlerpool_requesthandleravgidle_percent",
		"kafka_cluster_partition_":          "underminisr atminisr replicascount",
	}
	for prefix, names := range wanted {
		for name := range strings.FieldsSeq(names) {
			if !strings.Contains(string(text), "\n| `"+prefix+name+"` |") {
				t.Errorf("%s%s is not in docs/metrics.md", prefix, name)
			}
		}
	}
}

// useBroker writes a record, reads it as a member of a group, and commits.
func useBroker(t *testing.T, address string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(address), kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("documented"),
		kgo.ConsumeTopics("documented"), kgo.ConsumerGroup("documented"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err = client.ProduceSync(ctx, kgo.StringRecord("value")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	for n := 0; n == 0; {
		fetches := client.PollFetches(ctx)
		if err = fetches.Err(); err != nil {
			t.Fatal(err)
		}
		n = fetches.NumRecords()
	}
	if err = client.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
}

var descText = regexp.MustCompile(`^Desc\{fqName: ("(?:[^"\\]|\\.)*"), help: ("(?:[^"\\]|\\.)*"), unit: .*, constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// describe lists the metrics of a registry. Every metric has a series from the start, except those
// about other brokers or groups: otherwise an alert cannot distinguish its first count from no
// count.
func describe(t *testing.T, registry *prometheus.Registry) []documented {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]string{}
	for name, kind := range telemetry.New(telemetry.Options{}).Types() {
		kinds[name] = map[prometheus.ValueType]string{prometheus.CounterValue: "counter", prometheus.GaugeValue: "gauge"}[kind]
	}
	for _, f := range families {
		kinds[f.GetName()] = strings.ToLower(dto.MetricType_name[int32(f.GetType())])
	}
	descs := make(chan *prometheus.Desc)
	go func() { defer close(descs); registry.Describe(descs) }()
	byName := map[string]documented{}
	for d := range descs {
		m := descText.FindStringSubmatch(d.String())
		if m == nil {
			t.Fatalf("a description in another form: %s", d)
		}
		name, nameErr := strconv.Unquote(m[1])
		help, helpErr := strconv.Unquote(m[2])
		if nameErr != nil || helpErr != nil {
			t.Fatalf("a description in another form: %s", d)
		}
		kind, ok := kinds[name]
		if !ok {
			t.Errorf("%s has no series: create those of its label values with it", name)
		}
		labels := strings.FieldsFunc(m[4], func(r rune) bool { return r == ',' })
		for _, pair := range strings.FieldsFunc(m[3], func(r rune) bool { return r == ',' }) {
			label, _, _ := strings.Cut(pair, "=")
			labels = append(labels, label)
		}
		byName[name] = documented{name, kind, unitOf(name), strings.Join(labels, ", "), help}
	}
	list := make([]documented, 0, len(byName))
	for _, d := range byName {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b documented) int { return strings.Compare(a.name, b.name) })
	return list
}

func unitOf(name string) string {
	switch {
	case strings.Contains(name, "bytes") || name == "kafka_log_log_size":
		return "bytes"
	case strings.Contains(name, "seconds"):
		return "seconds"
	case strings.HasSuffix(name, "_ratio"):
		return "ratio"
	default:
		return ""
	}
}

// metricsSections are the sections of the document. The prefix of a name selects the section.
var metricsSections = []struct {
	title, text string
	prefixes    []string
}{
	{
		"kafka_exporter's names", `What kafka_exporter (danielqsj/kafka_exporter) tells of a cluster, without running it. Each series comes from one broker only: of a partition
from its leader, or from the controller while nobody leads it; of a group from its coordinator; of the cluster from the controller.`,
		[]string{"kafka_broker", "kafka_topic_", "kafka_consumergroup_"},
	},
	{
		"Kafka's own names", `Kafka's JMX metrics as the JMX exporter spells them in Strimzi's dashboards. There is no series without a topic that sums up the topics.`,
		[]string{"kafka_"},
	},
	{"Varve's names", "What Kafka has no name for.", []string{"varve_"}},
	{"The process", "From the Go runtime, the operating system and the handler of `/metrics`.", []string{"go_", "process_", "promhttp_"}},
}

const metricsHead = `# Metrics

Generated from the registry of a running broker by ` + "`make gen`" + `; do not edit.

` + "`GET /metrics`" + ` on the address that ` + "`--http`" + ` says has these, in Prometheus' text format. Dashboards and alerts are in
[monitoring/](../monitoring/README.md).

Series are made at the scrape, for at most 10000 topics, 10000 replicas and 10000 committed offsets on a broker, in the order of the names;
` + "`varve_telemetry_omitted_count`" + ` is how many were too many. ` + "`varve.metrics.partitions=false`" + ` turns those of single partitions off, at any time; what is summed up over
topics and groups stays. Counters of a topic begin anew when the last replica of the topic leaves the broker.

A group's lag needs the ends of its partitions. A coordinator takes those that it has an in-sync replica of from itself, a follower's being behind the
leader's by at most one fetch, and asks the leaders of the others at the scrape, for at most 2 s. Where a leader does not answer, the series of the lag is
missing rather than wrong.

` + "`kafka_network_socketserver_networkprocessoravgidle_percent`" + ` and ` + "`kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent`" + ` tell in Kafka how idle the
threads of two pools are, from 0 to 1. Varve has no such pools: every connection has its own goroutines. Both are the share of the machine's processors that the broker
has left over, which an alert on a low value means. What saturates besides is memory for requests (` + "`varve_broker_request_budget_used_bytes`" + ` of
` + "`varve_broker_request_budget_bytes`" + `, and ` + "`varve_broker_request_budget_waiting_requests`" + `). There is no remotedeletebytes, which Kafka has not either.

What the object store costs is requests times price: ` + "`sum(rate(varve_objstore_requests_total{op=\"put\"}[1h])) * 3600 * 0.000005`" + ` are dollars an hour at 5 dollars for a
million.
`

func metricsDocument(list []documented) string {
	var b strings.Builder
	b.WriteString(metricsHead)
	done := map[string]bool{}
	for _, section := range metricsSections {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| metric | type | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n", section.title, section.text)
		for _, d := range list {
			if done[d.name] || !slices.ContainsFunc(section.prefixes, func(p string) bool { return strings.HasPrefix(d.name, p) }) {
				continue
			}
			done[d.name] = true
			labels := ""
			if d.labels != "" {
				labels = "`" + d.labels + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", d.name, d.kind, d.unit, labels, strings.ReplaceAll(d.help, "|", `\|`))
		}
	}
	return b.String()
}
