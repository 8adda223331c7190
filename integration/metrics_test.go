package integration

import (
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// scraped are the series of all brokers: each series' values by broker.
type scraped map[string]map[int]float64

var clusterSeries = regexp.MustCompile(`^kafka_(brokers|broker_info|topic_|consumergroup_|cluster_partition_)`)

// scrape reads the metrics of the given brokers.
func scrape(t *testing.T, brokers []*process) scraped {
	t.Helper()
	all := scraped{}
	for i, b := range brokers {
		for line := range strings.Lines(metrics(t, b)) {
			line = strings.TrimSpace(line)
			at := strings.LastIndexByte(line, ' ')
			if at < 0 || line[0] == '#' {
				continue
			}
			value, err := strconv.ParseFloat(line[at+1:], 64)
			if err != nil {
				t.Fatalf("broker %d: %q: %v", i+1, line, err)
			}
			series := line[:at]
			if all[series] == nil {
				all[series] = map[int]float64{}
			}
			all[series][i+1] = value
		}
	}
	return all
}

// sum adds up a series over the brokers, as a dashboard does. n is the number of brokers that have
// it.
func (s scraped) sum(series string) (total float64, n int) {
	for _, value := range s[series] {
		total += value
	}
	return total, len(s[series])
}

// only reports whether exactly one broker has a series, with the given value.
func (s scraped) only(series string, value float64) bool {
	total, n := s.sum(series)
	return n == 1 && total == value
}

// TestMetricsOfACluster checks that each series of the cluster comes from one broker, with the
// correct value. That includes a partition that only another broker than the group's coordinator
// has, and one without a leader.
func TestMetricsOfACluster(t *testing.T) {
	brokers := startCluster(t)
	client := newClient(t, brokers[0].bootstrap, append(clusterClient(brokers), kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	admin := kadm.NewClient(client)
	for topic, replicas := range map[string]int16{"everywhere": 3, "alone": 1} {
		eventually(t, time.Minute, "every broker knows the others, and "+topic+" is created", func() bool {
			_, err := admin.CreateTopic(t.Context(), 6, replicas, nil, topic)
			return err == nil
		})
	}
	committed := kadm.Offsets{}
	for _, topic := range []string{"everywhere", "alone"} {
		for partition := range int32(6) {
			for range 10 {
				r := &kgo.Record{Topic: topic, Partition: partition, Value: []byte("0123456789")}
				if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			committed.AddOffset(topic, partition, int64(partition), -1)
		}
	}
	if err := admin.CommitAllOffsets(t.Context(), "readers", committed); err != nil {
		t.Fatal(err)
	}

	var all scraped
	eventually(t, time.Minute, "every series has the value that is true", func() bool {
		all = scrape(t, brokers)
		ok := all.only("kafka_brokers", 3) && all.only(`kafka_topic_partitions{topic="alone"}`, 6)
		for _, topic := range []string{"everywhere", "alone"} {
			ok = ok && all.only(`kafka_consumergroup_lag_sum{consumergroup="readers",topic="`+topic+`"}`, 60-(0+1+2+3+4+5))
			for partition := range 6 {
				of := `partition="` + strconv.Itoa(partition) + `",topic="` + topic + `"}`
				ok = ok && all.only("kafka_topic_partition_current_offset{"+of, 10) && all.only("kafka_topic_partition_oldest_offset{"+of, 0) &&
					all.only("kafka_topic_partition_under_replicated_partition{"+of, 0) &&
					all.only(`kafka_consumergroup_lag{consumergroup="readers",`+of, float64(10-partition)) &&
					all.only(`kafka_consumergroup_current_offset{consumergroup="readers",`+of, float64(partition))
			}
		}
		return ok
	})
	for series, from := range all {
		if clusterSeries.MatchString(series) && len(from) != 1 {
			t.Errorf("%s comes from brokers %v", series, from)
		}
	}
	for series, want := range map[string]float64{
		"kafka_controller_kafkacontroller_activecontrollercount":                     1,
		"kafka_controller_kafkacontroller_offlinepartitionscount":                    0,
		`kafka_server_brokertopicmetrics_messagesin_total{topic="everywhere"}`:       60,
		`kafka_server_brokertopicmetrics_messagesin_total{topic="alone"}`:            60,
		`kafka_server_brokertopicmetrics_totalproducerequests_total{topic="alone"}`:  60,
		`kafka_server_brokertopicmetrics_failedproducerequests_total{topic="alone"}`: 0,
	} {
		if got, n := all.sum(series); got != want || n == 0 {
			t.Errorf("%s adds up to %v over %d brokers, not %v", series, got, n, want)
		}
	}
	if in, _ := all.sum(`kafka_server_brokertopicmetrics_bytesin_total{topic="everywhere"}`); in < 600 {
		t.Errorf("%v bytes came in", in)
	}
	eventually(t, time.Minute, "the followers have what the leaders have", func() bool {
		all = scrape(t, brokers)
		in, _ := all.sum(`kafka_server_brokertopicmetrics_bytesin_total{topic="everywhere"}`)
		copied, _ := all.sum(`kafka_server_brokertopicmetrics_replicationbytesin_total{topic="everywhere"}`)
		return copied == 2*in
	})

	metricsWithoutABroker(t, brokers, all)
	metricsWithoutPartitions(t, brokers[:2], admin)
}

// metricsWithoutABroker kills the third broker, and thus the leaders of the partitions that only it
// has.
func metricsWithoutABroker(t *testing.T, brokers []*process, before scraped) {
	t.Helper()
	var gone []string
	for partition := range 6 {
		of := `{partition="` + strconv.Itoa(partition) + `",topic="alone"}`
		if before.only("kafka_topic_partition_leader"+of, 3) {
			gone = append(gone, of)
		}
	}
	if len(gone) == 0 {
		t.Fatal("the third broker leads nothing alone")
	}
	brokers[2].stop(t, syscall.SIGKILL)
	eventually(t, time.Minute, "the other brokers tell what is missing", func() bool {
		all := scrape(t, brokers[:2])
		offline, _ := all.sum("kafka_controller_kafkacontroller_offlinepartitionscount")
		under, _ := all.sum("kafka_server_replicamanager_underreplicatedpartitions")
		ok := all.only("kafka_brokers", 2) && int(offline) == len(gone) && under >= 6
		for _, of := range gone {
			ok = ok && all.only("kafka_topic_partition_leader"+of, -1) && all.only("kafka_topic_partition_in_sync_replica"+of, 0)
			_, lags := all.sum(strings.Replace("kafka_consumergroup_lag"+of, "{", `{consumergroup="readers",`, 1))
			ok = ok && lags == 0 // the end offsets are unknown
		}
		return ok
	})
}

// metricsWithoutPartitions turns off the series of single partitions.
func metricsWithoutPartitions(t *testing.T, brokers []*process, admin *kadm.Client) {
	t.Helper()
	_, err := admin.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "varve.metrics.partitions", Value: new("false")}})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "no partition has series", func() bool {
		all := scrape(t, brokers)
		for series := range all {
			if strings.Contains(series, `partition="`) {
				return false
			}
		}
		_, sums := all.sum(`kafka_consumergroup_current_offset_sum{consumergroup="readers",topic="everywhere"}`)
		return sums == 1
	})
}
