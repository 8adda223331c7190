package config

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestTablesAreConsistent: every line of both tables is consistent. Its default is a value that it
// accepts, its synonym exists and has its type, and it has a description.
func TestTablesAreConsistent(t *testing.T) {
	for kind, keys := range map[string][]Key{"topic": TopicKeys(), "broker": BrokerKeys()} {
		if !slices.IsSortedFunc(keys, func(a, b Key) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%s keys are not sorted", kind)
		}
		for i, k := range keys {
			if i > 0 && keys[i-1].Name == k.Name {
				t.Errorf("%s is there twice", k.Name)
			}
			if k.Null != (k.Default == "") && !strings.HasSuffix(k.Name, ".throttled.replicas") { // empty lists
				t.Errorf("%s: default %q, null %t", k.Name, k.Default, k.Null)
			}
			if !k.Null && k.Check(k.Default) != nil {
				t.Errorf("%s: the default: %v", k.Name, k.Check(k.Default))
			}
			if !strings.HasSuffix(k.Doc, ".") {
				t.Errorf("%s: doc %q", k.Name, k.Doc)
			}
			if wantUnit := strings.HasSuffix(k.Name, ".ms") || strings.HasSuffix(k.Name, ".bytes"); wantUnit && k.Unit == "" {
				t.Errorf("%s has no unit", k.Name)
			}
			if kind == "topic" && k.Synonym != "" {
				s, err := BrokerKey(k.Synonym)
				if err != nil || s.Type != k.Type || s.Dynamic != ClusterWide || !s.Null && s.Default != k.Default {
					t.Errorf("%s: synonym %+v, %v", k.Name, s, err)
				}
			}
			for _, f := range k.fallbacks {
				if _, err := BrokerKey(f.name); err != nil {
					t.Errorf("%s falls back to %v", k.Name, err)
				}
			}
		}
	}
}

func TestNamesOutsideTheTables(t *testing.T) {
	for _, c := range []struct {
		find func(string) (Key, error)
		name string
		want error
		near string
	}{
		{BrokerKey, "ssl.engine.factory.class", ErrNotSupported, ""},
		{BrokerKey, "ssl.keystore.password", ErrNotSupported, "openssl pkcs12"},
		{BrokerKey, "listener.name.a.ssl.provider", ErrNotSupported, ""},
		{BrokerKey, "listener.name.a.max.connections", ErrNotSupported, ""},
		{BrokerKey, "listener.name.a.ssl.keystore.locatio", ErrUnknownKey, ""},
		{BrokerKey, "listener.name.A.ssl.keystore.location", ErrUnknownKey, "listener.name.a.ssl.keystore.location"},
		{BrokerKey, "listener.name.a", ErrUnknownKey, ""},
		{BrokerKey, "metadata.log.dir", ErrNotSupported, ""},
		{BrokerKey, "authorizer.class.name", ErrNotSupported, ""},
		{TopicKey, "retention.m", ErrUnknownKey, "retention.ms"},
		{TopicKey, "segmnet.bytes", ErrUnknownKey, "segment.bytes"},
		{TopicKey, "log.segment.bytes", ErrUnknownKey, "segment.bytes"},
		{BrokerKey, "log.segments.bytes", ErrUnknownKey, "log.segment.bytes"},
		{BrokerKey, "varve.tier.chunk.byte", ErrUnknownKey, "varve.tier.chunk.bytes"},
		{TopicKey, "pineapple", ErrUnknownKey, ""},
		{TopicKey, "", ErrUnknownKey, ""},
	} {
		_, err := c.find(c.name)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.name) {
			t.Errorf("%q: %v", c.name, err)
		}
		if suggested := strings.Contains(err.Error(), "did you mean"); suggested != (c.near != "" && !strings.Contains(c.name, "ssl.")) || !strings.Contains(err.Error(), c.near) {
			t.Errorf("%q: %v, not near %q", c.name, err, c.near)
		}
	}
}

func TestKeyCheck(t *testing.T) {
	for _, c := range []struct{ key, good, bad string }{
		{"segment.bytes", "1048576 2147483647 +1048576", "1048575 2147483648 1e7 0x100000 1_048_576 ten - 1048576.0"},
		{"retention.ms", "-1 0 9223372036854775807", "-2 9223372036854775808"},
		{"local.retention.ms", "-2 -1 0", "-3"},
		{"remote.storage.enable", "true false TRUE False", "1 yes on t"},
		{"cleanup.policy", "delete compact compact,delete", "deleted compact,,delete delete,delete DELETE ,"},
		{"compression.type", "producer uncompressed lz4 zstd snappy gzip", "none Producer"},
		{"compression.gzip.level", "-1 1 9", "0 10 -2"},
		{"compression.lz4.level", "1 9 17", "0 18 -1"},
		{"compression.zstd.level", "-131072 0 22", "-131073 23"},
		{"preallocate", "true false", "1"},
		{"unclean.leader.election.enable", "true false", "1"},
		{"retention.bytes", "-1 0 -5", "x"},
		{"message.timestamp.type", "CreateTime LogAppendTime", "createtime"},
		{"min.insync.replicas", "1 3", "0"},
		{"min.cleanable.dirty.ratio", "0 0.5 1 1e-3", "-0.1 1.01 NaN 0x1"},
		{"leader.replication.throttled.replicas", "* 0:1 0:1,12:3 00:01 0:1, 2147483647:2147483647", "1 0:1:2 a:1 0:b -1:1 +1:1 0:2147483648 *,0:1 0:* 0:1;1:1"},
		{"follower.replication.throttled.replicas", "* 0:1", "*:*"},
		{"max.compaction.lag.ms", "1 9223372036854775807", "0"},
	} {
		k, err := TopicKey(c.key)
		if err != nil {
			t.Fatal(err)
		}
		for value := range strings.FieldsSeq(c.good) {
			for _, v := range []string{value, " " + value + " "} { // Kafka trims
				if err = k.Check(v); err != nil {
					t.Error(err)
				}
			}
		}
		bad := append(strings.Fields(c.bad), "no such value")
		if k.Type == List { // the empty list
			if err = k.Check(""); err != nil {
				t.Error(err)
			}
		} else {
			bad = append(bad, "")
		}
		for _, value := range bad {
			var valueErr *ValueError
			if err = k.Check(value); !errors.As(err, &valueErr) || valueErr.Name != c.key || valueErr.Value != value || valueErr.Reason == "" {
				t.Errorf("%s=%q: %v", c.key, value, err)
			}
		}
	}
}

// TestErrorsReadAsKafkas: tools and people know these words.
func TestErrorsReadAsKafkas(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"segment.bytes", "100", "Invalid value 100 for configuration segment.bytes: Value must be at least 1048576"},
		{"retention.ms", "soon", "Invalid value soon for configuration retention.ms: Not a number of type LONG"},
		{"max.message.bytes", "9999999999", "Invalid value 9999999999 for configuration max.message.bytes: Not a number of type INT"},
		{"remote.storage.enable", "maybe", "Invalid value maybe for configuration remote.storage.enable: Expected value to be either true or false"},
		{"message.timestamp.type", "x", "Invalid value x for configuration message.timestamp.type: String must be one of: CreateTime, LogAppendTime"},
	} {
		k, err := TopicKey(c.key)
		if err != nil {
			t.Fatal(err)
		}
		if err = k.Check(c.value); err == nil || err.Error() != c.want {
			t.Errorf("%v, not %q", err, c.want)
		}
	}
	k, _ := BrokerKey("max.connections")
	if err := k.Check("0"); err == nil || !strings.Contains(err.Error(), "Value must be at least 1") {
		t.Error(err)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	k := Key{Name: "ssl.key.password", Type: Password, Null: true, Validate: oneOf("x").check}
	if err := k.Check("hunter2"); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
	s := k.synonym("hunter2", SourceStaticBroker)
	e := k.entry(s.Value, []Synonym{s}, true)
	if e.Value != nil || e.Synonyms[0].Value != nil || !e.Sensitive || e.Source != SourceStaticBroker {
		t.Errorf("%+v", e)
	}
}

func TestDoublesAreParsedStrictly(t *testing.T) {
	k := Key{Name: "ratio", Type: Double}
	for value, good := range map[string]bool{
		"0.5": true, "1.7976931348623157E308": true, "-1e-3": true, "7": true,
		"NaN": false, "Inf": false, "0x1p4": false, "1_0": false, "": false, "half": false, "1e999": false,
	} {
		if err := k.Check(value); (err == nil) != good {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}, {"ab", "ba", 2}} {
		if got := editDistance(c.a, c.b, 100); got != c.want {
			t.Errorf("%q to %q: %d, not %d", c.a, c.b, got, c.want)
		}
		if got := editDistance(c.a, c.b, 1); got != min(c.want, 1) {
			t.Errorf("%q to %q with a limit: %d", c.a, c.b, got)
		}
	}
}
