package config

import (
	"slices"
	"strconv"
	"strings"
)

// Source says which layer a value comes from, numbered as in DescribeConfigs.
type Source int8

// The layers, the strongest first.
const (
	SourceTopic                Source = 1
	SourceDynamicBroker        Source = 2
	SourceDynamicDefaultBroker Source = 3
	SourceStaticBroker         Source = 4
	SourceDefault              Source = 5
)

// Layers are the configurations of one broker. The maps are only read.
type Layers struct {
	Static         map[string]string // from the command line, the environment and the file
	DynamicDefault map[string]string // set for all brokers
	DynamicBroker  map[string]string // set for this broker
}

// Topic returns the effective configurations of a topic with these overrides.
func (l Layers) Topic(overrides map[string]string) Values {
	v := Values{byName: make(map[string]any, len(topicTable.keys))}
	for _, k := range topicTable.keys {
		value, _ := k.parse(l.topicValue(k, overrides)) // valid: topicValue skips invalid ones
		v.byName[k.Name] = value
	}
	return v
}

// TopicOnly is Topic for a single configuration: the others are not in it.
func (l Layers) TopicOnly(name string, overrides map[string]string) Values {
	v := Values{byName: make(map[string]any, 1)}
	if k, ok := topicTable.byName[name]; ok {
		v.byName[name], _ = k.parse(l.topicValue(k, overrides)) // valid, as in Topic
	}
	return v
}

// Broker returns the effective configurations of the broker. A null one with coarser units has the
// value of these.
func (l Layers) Broker() Values {
	v := Values{byName: make(map[string]any, len(brokerTable.keys))}
	for _, k := range brokerTable.keys {
		value, ok := l.brokerValue(k)
		if !ok {
			v.byName[k.Name] = nil
			continue
		}
		v.byName[k.Name], _ = k.parse(value) // valid: brokerValue skips invalid ones
	}
	return v
}

// topicValue returns the effective value of a topic configuration.
func (l Layers) topicValue(k Key, overrides map[string]string) string {
	if value, ok := validIn(overrides, k); ok {
		return value
	}
	if k.Name == remoteStorageEnable && l.compacted(overrides) {
		return "false" // a compacted topic is not tiered by default
	}
	if k.Synonym != "" {
		if value, ok := l.brokerValue(brokerTable.byName[k.Synonym]); ok {
			return value
		}
	}
	return k.Default
}

// brokerValue returns the effective value of a broker configuration, and false if it is null.
func (l Layers) brokerValue(k Key) (string, bool) {
	for _, layer := range [...]map[string]string{l.DynamicBroker, l.DynamicDefault, l.Static} {
		if value, ok := validIn(layer, k); ok {
			return value, true
		}
	}
	if !k.Null {
		return k.Default, true
	}
	for _, f := range k.fallbacks {
		value, ok := l.brokerValue(brokerTable.byName[f.name])
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil {
			continue
		}
		if n >= 0 { // a negative value means "unlimited" in any unit
			n *= f.factor
		}
		return strconv.FormatInt(max(n, -1), 10), true
	}
	return "", false
}

// validIn returns the layer's value of the key, if it has one that this version accepts.
func validIn(layer map[string]string, k Key) (string, bool) {
	value, ok := layer[k.Name]
	if !ok || k.Check(value) != nil {
		return "", false
	}
	return value, true
}

// compacted reports whether a topic with these overrides is compacted.
func (l Layers) compacted(overrides map[string]string) bool {
	value := l.topicValue(topicTable.byName[cleanupPolicy], overrides)
	return slices.Contains(splitList(strings.TrimSpace(value)), "compact")
}
