package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestStrongestLayerWins(t *testing.T) {
	l := Layers{}
	var overrides map[string]string
	want := func(n int64) {
		t.Helper()
		if got := l.Topic(overrides).Int64("segment.bytes"); got != n {
			t.Errorf("segment.bytes is %d, not %d", got, n)
		}
	}
	want(1 << 30)
	l.Static = map[string]string{"log.segment.bytes": "2000000"}
	want(2000000)
	l.DynamicDefault = map[string]string{"log.segment.bytes": "3000000"}
	want(3000000)
	l.DynamicBroker = map[string]string{"log.segment.bytes": " 4000000 "}
	want(4000000)
	overrides = map[string]string{"segment.bytes": "5000000"}
	want(5000000)
	if got := l.Broker().Int64("log.segment.bytes"); got != 4000000 {
		t.Errorf("log.segment.bytes is %d", got)
	}
}

// TestValuesPassOverWhatIsNotValid: values that another version has stored must not stop this one.
func TestValuesPassOverWhatIsNotValid(t *testing.T) {
	l := Layers{
		Static:         map[string]string{"log.retention.bytes": "1000"},
		DynamicDefault: map[string]string{"log.retention.bytes": "lots", "log.future.setting": "x"},
	}
	overrides := map[string]string{"retention.bytes": "many", "cleanup.policy": "shred", "future.setting": "x"}
	v := l.Topic(overrides)
	if v.Int64("retention.bytes") != 1000 || !slices.Equal(v.List("cleanup.policy"), []string{"delete"}) {
		t.Errorf("%v", v)
	}
	for _, e := range l.DescribeTopic(overrides) {
		if e.Source == SourceTopic || e.Name == "retention.bytes" && *e.Value != "1000" {
			t.Errorf("%+v", e)
		}
	}
}

func TestCoarserUnits(t *testing.T) {
	const hour = int64(time.Hour / time.Millisecond)
	for _, c := range []struct {
		static map[string]string
		key    string
		want   int64
	}{
		{nil, "retention.ms", 168 * hour},
		{map[string]string{"log.retention.hours": "1"}, "retention.ms", hour},
		{map[string]string{"log.retention.hours": "1", "log.retention.minutes": "5"}, "retention.ms", 5 * 60_000},
		{map[string]string{"log.retention.hours": "1", "log.retention.minutes": "5", "log.retention.ms": "7"}, "retention.ms", 7},
		{map[string]string{"log.retention.hours": "-1"}, "retention.ms", -1},
		{map[string]string{"log.retention.hours": "2147483647"}, "retention.ms", 2147483647 * hour},
		{nil, "segment.ms", 168 * hour},
		{map[string]string{"log.roll.hours": "2"}, "segment.ms", 2 * hour},
		{nil, "segment.jitter.ms", 0},
		{map[string]string{"log.roll.jitter.hours": "3"}, "segment.jitter.ms", 3 * hour},
		{nil, "flush.ms", math.MaxInt64},
		{map[string]string{"log.flush.scheduler.interval.ms": "50"}, "flush.ms", 50},
	} {
		if got := (Layers{Static: c.static}).Topic(nil).Int64(c.key); got != c.want {
			t.Errorf("%s with %v: %d, not %d", c.key, c.static, got, c.want)
		}
	}
}

func TestValues(t *testing.T) {
	v := Layers{Static: map[string]string{"broker.rack": "a"}}.Broker()
	if v.Int32("socket.request.max.bytes") != 100<<20 || !v.Bool("delete.topic.enable") || v.String("broker.rack") != "a" ||
		v.Duration("connections.max.idle.ms") != 10*time.Minute || v.List("log.dirs") != nil {
		t.Errorf("%v", v)
	}
	if got := v.Duration("log.flush.interval.ms"); got < 290*365*24*time.Hour {
		t.Errorf("an unlimited time is %v", got)
	}
	double := Values{byName: map[string]any{"d": 0.5}}
	if double.Float64("d") != 0.5 {
		t.Error("a double")
	}
	for name, misuse := range map[string]func(){
		"unknown": func() { v.Int64("no.such.key") },
		"type":    func() { v.Bool("num.partitions") },
		"size":    func() { v.Int32("log.flush.interval.ms") },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			misuse()
		}()
	}
}

// TestDescribeTopicLooksAsInKafka: recorded from Apache Kafka 4.3.1 (kafka-configs --describe --all
// of __consumer_offsets), for the keys that are served. Only remote.storage.enable has a synonym
// here and none there; varve.ack.fsync is Varve's own.
func TestDescribeTopicLooksAsInKafka(t *testing.T) {
	l := Layers{DynamicDefault: map[string]string{"min.insync.replicas": "1"}}
	got := map[string]string{}
	for _, e := range l.DescribeTopic(map[string]string{
		"cleanup.policy": "compact", "compression.type": "producer", "segment.bytes": "104857600",
	}) {
		got[e.Name] = line(e)
	}
	for _, want := range []string{
		"cleanup.policy=compact sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:cleanup.policy=compact, DEFAULT_CONFIG:log.cleanup.policy=delete}",
		"compression.gzip.level=-1 sensitive=false synonyms={DEFAULT_CONFIG:compression.gzip.level=-1}",
		"compression.lz4.level=9 sensitive=false synonyms={DEFAULT_CONFIG:compression.lz4.level=9}",
		"compression.zstd.level=3 sensitive=false synonyms={DEFAULT_CONFIG:compression.zstd.level=3}",
		"compression.type=producer sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:compression.type=producer, DEFAULT_CONFIG:compression.type=producer}",
		"delete.retention.ms=86400000 sensitive=false synonyms={DEFAULT_CONFIG:log.cleaner.delete.retention.ms=86400000}",
		"max.compaction.lag.ms=9223372036854775807 sensitive=false synonyms={DEFAULT_CONFIG:log.cleaner.max.compaction.lag.ms=9223372036854775807}",
		"min.cleanable.dirty.ratio=0.5 sensitive=false synonyms={DEFAULT_CONFIG:log.cleaner.min.cleanable.ratio=0.5}",
		"min.compaction.lag.ms=0 sensitive=false synonyms={DEFAULT_CONFIG:log.cleaner.min.compaction.lag.ms=0}",
		"file.delete.delay.ms=60000 sensitive=false synonyms={DEFAULT_CONFIG:log.segment.delete.delay.ms=60000}",
		"flush.messages=9223372036854775807 sensitive=false synonyms={DEFAULT_CONFIG:log.flush.interval.messages=9223372036854775807}",
		"flush.ms=9223372036854775807 sensitive=false synonyms={}",
		"follower.replication.throttled.replicas= sensitive=false synonyms={}",
		"index.interval.bytes=4096 sensitive=false synonyms={DEFAULT_CONFIG:log.index.interval.bytes=4096}",
		"leader.replication.throttled.replicas= sensitive=false synonyms={}",
		"local.retention.bytes=-2 sensitive=false synonyms={DEFAULT_CONFIG:log.local.retention.bytes=-2}",
		"local.retention.ms=-2 sensitive=false synonyms={DEFAULT_CONFIG:log.local.retention.ms=-2}",
		"max.message.bytes=1048588 sensitive=false synonyms={DEFAULT_CONFIG:message.max.bytes=1048588}",
		"message.timestamp.after.max.ms=3600000 sensitive=false synonyms={DEFAULT_CONFIG:log.message.timestamp.after.max.ms=3600000}",
		"message.timestamp.before.max.ms=9223372036854775807 sensitive=false synonyms={DEFAULT_CONFIG:log.message.timestamp.before.max.ms=9223372036854775807}",
		"message.timestamp.type=CreateTime sensitive=false synonyms={DEFAULT_CONFIG:log.message.timestamp.type=CreateTime}",
		"min.insync.replicas=1 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:min.insync.replicas=1, DEFAULT_CONFIG:min.insync.replicas=1}",
		"preallocate=false sensitive=false synonyms={DEFAULT_CONFIG:log.preallocate=false}",
		"remote.copy.lag.bytes=-1 sensitive=false synonyms={DEFAULT_CONFIG:log.remote.copy.lag.bytes=-1}",
		"remote.copy.lag.ms=0 sensitive=false synonyms={DEFAULT_CONFIG:log.remote.copy.lag.ms=0}",
		"remote.log.copy.disable=false sensitive=false synonyms={}",
		"remote.storage.enable=false sensitive=false synonyms={DEFAULT_CONFIG:log.remote.storage.enable=true}",
		"retention.bytes=-1 sensitive=false synonyms={DEFAULT_CONFIG:log.retention.bytes=-1}",
		"retention.ms=604800000 sensitive=false synonyms={}",
		"segment.bytes=104857600 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:segment.bytes=104857600, DEFAULT_CONFIG:log.segment.bytes=1073741824}",
		"segment.index.bytes=10485760 sensitive=false synonyms={DEFAULT_CONFIG:log.index.size.max.bytes=10485760}",
		"segment.jitter.ms=0 sensitive=false synonyms={}",
		"segment.ms=604800000 sensitive=false synonyms={}",
		"unclean.leader.election.enable=false sensitive=false synonyms={DEFAULT_CONFIG:unclean.leader.election.enable=false}",
		"varve.ack.fsync=false sensitive=false synonyms={DEFAULT_CONFIG:varve.ack.fsync=false}",
		"varve.tier.max.lag.ms=-1 sensitive=false synonyms={DEFAULT_CONFIG:varve.tier.max.lag.ms=-1}",
	} {
		name, _, _ := strings.Cut(want, "=")
		if got[name] != want {
			t.Errorf("got  %s\nwant %s", got[name], want)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("not compared: %v", slices.Collect(maps.Keys(got)))
	}
}

// line returns an entry in the format of kafka-configs.
func line(e Entry) string {
	names := map[Source]string{
		SourceTopic: "DYNAMIC_TOPIC_CONFIG", SourceDynamicBroker: "DYNAMIC_BROKER_CONFIG", SourceDynamicDefaultBroker: "DYNAMIC_DEFAULT_BROKER_CONFIG",
		SourceStaticBroker: "STATIC_BROKER_CONFIG", SourceDefault: "DEFAULT_CONFIG",
	}
	shown := func(v *string) string {
		if v == nil {
			return "null"
		}
		return *v
	}
	var synonyms []string
	for _, s := range e.Synonyms {
		synonyms = append(synonyms, fmt.Sprintf("%s:%s=%s", names[s.Source], s.Name, shown(s.Value)))
	}
	return fmt.Sprintf("%s=%s sensitive=%t synonyms={%s}", e.Name, shown(e.Value), e.Sensitive, strings.Join(synonyms, ", "))
}

func TestDescribeBroker(t *testing.T) {
	l := Layers{
		Static:         map[string]string{"log.retention.hours": "24", "num.partitions": "3", "node.id": "7"},
		DynamicDefault: map[string]string{"log.retention.ms": "5000", "log.segment.bytes": "2000000"},
		DynamicBroker:  map[string]string{"log.segment.bytes": "3000000"},
	}
	entries := map[string]Entry{}
	for _, e := range l.DescribeBroker() {
		entries[e.Name] = e
	}
	for _, c := range []struct {
		name, want string
		source     Source
		readOnly   bool
	}{
		{"log.segment.bytes", "log.segment.bytes=3000000 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.segment.bytes=3000000, DYNAMIC_DEFAULT_BROKER_CONFIG:log.segment.bytes=2000000, DEFAULT_CONFIG:log.segment.bytes=1073741824}", SourceDynamicBroker, false},
		{"log.retention.ms", "log.retention.ms=5000 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=5000, STATIC_BROKER_CONFIG:log.retention.hours=24, DEFAULT_CONFIG:log.retention.hours=168}", SourceDynamicDefaultBroker, false},
		{"log.retention.hours", "log.retention.hours=24 sensitive=false synonyms={STATIC_BROKER_CONFIG:log.retention.hours=24, DEFAULT_CONFIG:log.retention.hours=168}", SourceStaticBroker, true},
		{"log.roll.ms", "log.roll.ms=null sensitive=false synonyms={}", SourceDefault, false},
		{"num.partitions", "num.partitions=3 sensitive=false synonyms={STATIC_BROKER_CONFIG:num.partitions=3, DEFAULT_CONFIG:num.partitions=1}", SourceStaticBroker, true},
		{"node.id", "node.id=7 sensitive=false synonyms={STATIC_BROKER_CONFIG:node.id=7, DEFAULT_CONFIG:node.id=1}", SourceStaticBroker, true},
		{"broker.rack", "broker.rack=null sensitive=false synonyms={}", SourceDefault, true},
	} {
		e := entries[c.name]
		if line(e) != c.want || e.Source != c.source || e.ReadOnly != c.readOnly || e.Doc == "" {
			t.Errorf("got  %s, source %d, read-only %t\nwant %s, source %d, read-only %t", line(e), e.Source, e.ReadOnly, c.want, c.source, c.readOnly)
		}
	}
	if got := l.Broker().Int64("log.retention.ms"); got != 5000 {
		t.Errorf("log.retention.ms is %d", got)
	}
	defaults := l.DescribeDefaultBroker()
	if len(defaults) != 2 || line(defaults[1]) != "log.segment.bytes=2000000 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.segment.bytes=2000000}" {
		t.Errorf("%+v", defaults)
	}
}

func TestValidateTopic(t *testing.T) {
	for _, c := range []struct {
		overrides string   // key=value pairs
		want      []string // one for each problem, in order
	}{
		{"", nil},
		{"retention.ms=1000 local.retention.ms=500 retention.bytes=100 local.retention.bytes=100", nil},
		{"retention.ms=-1 local.retention.ms=-1", nil},
		{"retention.ms=1000", nil}, // -2 means the same
		{"cleanup.policy=compact", nil},
		{"cleanup.policy=compact,delete", nil},
		{"cleanup.policy=", nil},
		{"cleanup.policy=compact remote.storage.enable=true", []string{"Remote log storage only supports topics with cleanup.policy=delete"}},
		{"cleanup.policy=compact,delete remote.storage.enable=true", []string{"Remote log storage only supports topics with cleanup.policy=delete"}},
		{"cleanup.policy= remote.storage.enable=true", nil},
		{"cleanup.policy=compact min.compaction.lag.ms=1000 max.compaction.lag.ms=1000 min.cleanable.dirty.ratio=0.1 delete.retention.ms=5", nil},
		{"min.compaction.lag.ms=1001 max.compaction.lag.ms=1000", []string{"conflict topic config setting min.compaction.lag.ms (1001) > max.compaction.lag.ms (1000)"}},
		{"compression.type=lz4 compression.lz4.level=17", nil},
		{"compression.type=lz4 compression.gzip.level=0", []string{"Invalid value 0 for configuration compression.gzip.level"}},
		{"retention.bytes=-7 local.retention.bytes=1000", nil}, // less than -1 is no limit either
		{"retention.ms=1000 local.retention.ms=2000", []string{"Invalid value 2000 for configuration local.retention.ms: Value must not be more than retention.ms property value: 1000"}},
		{"retention.bytes=1000 local.retention.bytes=-1", []string{"Value must not be -1 as retention.bytes value is set as 1000."}},
		{"retention.ms=1000 local.retention.ms=2000 remote.storage.enable=false", nil},
		{"local.retention.ms=700000000", []string{"local.retention.ms"}}, // above the default of retention.ms
		{"retention.ms=1000 remote.copy.lag.ms=2000", []string{"Invalid value 2000 for configuration remote.copy.lag.ms: Value must not exceed local.retention.ms (effective value: 1000)"}},
		{"retention.bytes=1000 local.retention.bytes=50 remote.copy.lag.bytes=51", []string{"Value must not exceed local.retention.bytes (effective value: 50)"}},
		{"retention.bytes=1000 local.retention.bytes=50 remote.copy.lag.bytes=50 remote.copy.lag.ms=-1", nil},
		{"retention.ms=1000 remote.copy.lag.ms=2000 remote.storage.enable=false", nil},
		{"varve.tier.max.lag.ms=0", []string{"Invalid value 0 for configuration varve.tier.max.lag.ms"}},
		{"varve.tier.max.lag.ms=1", nil},
		{"remote.log.copy.disable=true local.retention.bytes=5", []string{"no more logs are copied"}},
		{"remote.log.copy.disable=true", nil},
		{
			"remote.log.delete.on.disable=true segment.byte=1 segment.bytes=1 retention.ms=x",
			[]string{"not supported yet: remote.log.delete.on.disable", "Invalid value x for configuration retention.ms", "did you mean segment.bytes", "Invalid value 1 for configuration segment.bytes"},
		},
	} {
		overrides := pairs(t, c.overrides)
		problems := split(Layers{}.ValidateTopic(overrides))
		if len(problems) != len(c.want) {
			t.Errorf("%s: %q", c.overrides, problems)
			continue
		}
		for i, w := range c.want {
			if !strings.Contains(problems[i], w) {
				t.Errorf("%s: %q, not %q", c.overrides, problems[i], w)
			}
		}
	}
}

func pairs(t *testing.T, text string) map[string]string {
	t.Helper()
	m := map[string]string{}
	for pair := range strings.FieldsSeq(text) {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			t.Fatal(pair)
		}
		m[key] = value
	}
	return m
}

func split(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// TestValidateTopicAgainstTheBroker: the defaults that a topic would be used with count as well.
func TestValidateTopicAgainstTheBroker(t *testing.T) {
	l := Layers{Static: map[string]string{"log.retention.ms": "1000"}}
	if err := l.ValidateTopic(map[string]string{"local.retention.ms": "2000"}); err == nil {
		t.Error("local.retention.ms above the broker's log.retention.ms")
	}
	if err := l.ValidateTopic(map[string]string{"local.retention.ms": "500"}); err != nil {
		t.Error(err)
	}
}

func TestCompactedTopicsAreNotTieredByDefault(t *testing.T) {
	if (Layers{}).Topic(map[string]string{"cleanup.policy": "compact"}).Bool("remote.storage.enable") {
		t.Error("a compacted topic is tiered")
	}
	if !(Layers{}).Topic(nil).Bool("remote.storage.enable") {
		t.Error("an ordinary topic is not")
	}
	byDefault := Layers{Static: map[string]string{"log.cleanup.policy": "compact"}}
	if byDefault.Topic(nil).Bool("remote.storage.enable") {
		t.Error("a topic that is compacted by default is tiered")
	}
	if !byDefault.Topic(map[string]string{"cleanup.policy": ""}).Bool("remote.storage.enable") {
		t.Error("a topic that keeps everything is not tiered")
	}
}

func TestATieredTopicCannotBecomeCompacted(t *testing.T) {
	compact := map[string]string{"cleanup.policy": "compact"}
	for _, old := range []map[string]string{{}, {"remote.storage.enable": "true"}, {"cleanup.policy": ""}} {
		if err := (Layers{}).ValidateTopicUpdate(old, compact); err == nil || !strings.Contains(err.Error(), "Invalid value compact for configuration cleanup.policy: Remote log storage only") {
			t.Errorf("%v: %v", old, err)
		}
	}
	for _, old := range []map[string]string{{"remote.storage.enable": "false"}, {"cleanup.policy": "compact,delete"}} {
		next := map[string]string{"cleanup.policy": "compact"}
		if v, ok := old["remote.storage.enable"]; ok {
			next["remote.storage.enable"] = v
		}
		if err := (Layers{}).ValidateTopicUpdate(old, next); err != nil {
			t.Errorf("%v: %v", old, err)
		}
	}
}

func TestValidateTopicUpdateKeepsTheRemoteTier(t *testing.T) {
	off, on := map[string]string{"remote.storage.enable": "false"}, map[string]string{}
	if err := (Layers{}).ValidateTopicUpdate(on, off); err == nil || !strings.Contains(err.Error(), "remote.log.copy.disable=true") {
		t.Errorf("%v", err)
	}
	for _, err := range []error{
		Layers{}.ValidateTopicUpdate(off, on), Layers{}.ValidateTopicUpdate(off, off), Layers{}.ValidateTopicUpdate(on, on),
		Layers{}.ValidateTopicUpdate(on, map[string]string{"remote.log.copy.disable": "true"}),
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestValidateBroker(t *testing.T) {
	for _, c := range []struct {
		check func(map[string]string) error
		next  string
		want  string // "" for none
		is    error
	}{
		{Layers{}.ValidateDynamicDefault, "log.segment.bytes=2000000 log.retention.ms=7", "", nil},
		{Layers{}.ValidateDynamicBroker, "log.segment.bytes=2000000", "", nil},
		{Layers{}.ValidateDynamicBroker, "num.partitions=3", "num.partitions is read at start", ErrReadOnly},
		{Layers{}.ValidateDynamicDefault, "log.segment.bytes=2", "Invalid value 2", nil},
		{Layers{}.ValidateDynamicDefault, "log.segment.byte=2", "did you mean log.segment.bytes", ErrUnknownKey},
		{Layers{}.ValidateDynamicDefault, "quota.window.num=2", "not supported yet", ErrNotSupported},
		{Layers{}.ValidateDynamicDefault, "log.cleaner.threads=2 log.cleaner.io.max.bytes.per.second=1e6", "", nil},
		{Layers{}.ValidateDynamicDefault, "log.cleaner.enable=false", "log.cleaner.enable is read at start", ErrReadOnly},
		{Layers{}.ValidateDynamicDefault, "log.cleaner.threads=2 log.cleaner.dedupe.buffer.size=2097152", "must be at least 1MB per cleaner thread", nil},
		{Layers{}.ValidateDynamicDefault, "log.cleaner.min.compaction.lag.ms=2 log.cleaner.max.compaction.lag.ms=1", "conflict topic config setting", nil},
		{Layers{}.ValidateDynamicDefault, "log.cleanup.policy=compact", "Set log.remote.storage.enable=false as well", nil},
		{Layers{}.ValidateDynamicDefault, "log.cleanup.policy=compact log.remote.storage.enable=false", "", nil},
		{Layers{}.ValidateDynamicDefault, "log.retention.ms=1000 log.local.retention.ms=2000", "must not be more than retention.ms", nil},
		{Layers{Static: map[string]string{"log.retention.ms": "1000"}}.ValidateDynamicBroker, "log.local.retention.ms=2000", "must not be more than", nil},
		{Layers{}.ValidateDynamicBroker, "min.insync.replicas=2", "brokers must not differ in it", nil},
		{Layers{DynamicDefault: map[string]string{"min.insync.replicas": "1"}}.ValidateDynamicDefault, "min.insync.replicas=2", "", nil},
		{Layers{DynamicDefault: map[string]string{"min.insync.replicas": "1"}}.ValidateDynamicDefault, "log.retention.ms=7", "cannot be removed", nil},
		{static, "num.partitions=3 log.retention.hours=1", "", nil},
		{static, "group.min.session.timeout.ms=7000 group.max.session.timeout.ms=6999", "group.max.session.timeout.ms", nil},
		{static, "queued.max.request.bytes=1000", "at least socket.request.max.bytes", nil},
		{static, "queued.max.request.bytes=-1", "", nil},
	} {
		err := c.check(pairs(t, c.next))
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v", c.next, err)
		}
	}
}

// TestClusterDecidesMinInSyncReplicas: the founder's value counts, and a broker with another one
// reports it.
func TestClusterDecidesMinInSyncReplicas(t *testing.T) {
	founder := Layers{Static: map[string]string{"min.insync.replicas": "2"}}
	defaults := founder.ClusterDefaults()
	if !maps.Equal(defaults, map[string]string{"min.insync.replicas": "2"}) {
		t.Errorf("the founder decides on %v", defaults)
	}
	for own, overruled := range map[string]int{"2": 0, "3": 1} {
		l := Layers{Static: map[string]string{"min.insync.replicas": own}, DynamicDefault: defaults}
		if n := l.Topic(nil).Int64("min.insync.replicas"); n != 2 || len(l.Overruled()) != overruled {
			t.Errorf("a broker with %s has %d, overruled: %v", own, n, l.Overruled())
		}
	}
	if o := (Layers{DynamicDefault: defaults}).Overruled(); o != nil {
		t.Errorf("a broker without a value of its own is overruled: %v", o)
	}
}

func static(s map[string]string) error { return Layers{Static: s}.ValidateStatic() }

// TestTopicOnlyIsOneOfTopic: each configuration alone is the same as among all.
func TestTopicOnlyIsOneOfTopic(t *testing.T) {
	l := Layers{Static: map[string]string{"min.insync.replicas": "2"}, DynamicDefault: map[string]string{"log.retention.ms": "5"}}
	for _, overrides := range []map[string]string{nil, {"min.insync.replicas": "3"}, {"cleanup.policy": "compact"}, {"retention.ms": "bad"}} {
		all := l.Topic(overrides)
		for name, want := range all.byName {
			if got := l.TopicOnly(name, overrides); len(got.byName) != 1 || !reflect.DeepEqual(got.byName[name], want) {
				t.Errorf("%s under %v: %v, want %v", name, overrides, got.byName, want)
			}
		}
	}
}

func TestWatermarksAreInOrder(t *testing.T) {
	for _, c := range []struct {
		high, low string
		ok        bool
	}{
		{"0.95", "0.9", true},
		{"0.9", "0.9", true},
		{"0.8", "0.9", false},
		{"0", "0.9", true},
		{"5e9", "4e9", true},
		{"5e9", "0.5", false},
		{"0.9", "4e9", false},
	} {
		l := Layers{Static: map[string]string{"varve.disk.high.watermark": c.high, "varve.disk.low.watermark": c.low}}
		if err := l.ValidateStatic(); (err == nil) != c.ok {
			t.Errorf("high %s, low %s: %v", c.high, c.low, err)
		}
	}
}
