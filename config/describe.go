package config

import (
	"slices"
	"strings"
)

// Entry is one configuration as DescribeConfigs shows it.
type Entry struct {
	Name      string
	Value     *string // nil: null, or a secret
	Source    Source
	ReadOnly  bool
	Sensitive bool
	Type      Type
	Doc       string
	Synonyms  []Synonym // the strongest first
}

// Synonym is a value of a configuration in one layer.
type Synonym struct {
	Name   string
	Value  *string // nil: null, or a secret
	Source Source
}

// DescribeTopic returns all configurations of a topic with these overrides, sorted by name.
func (l Layers) DescribeTopic(overrides map[string]string) []Entry {
	entries := make([]Entry, 0, len(topicTable.keys))
	for _, k := range topicTable.keys {
		var synonyms []Synonym
		if value, ok := validIn(overrides, k); ok {
			synonyms = append(synonyms, k.synonym(value, SourceTopic))
		}
		if k.Synonym != "" {
			synonyms = append(synonyms, l.synonyms(brokerTable.byName[k.Synonym])...)
		}
		value := k.canonical(l.topicValue(k, overrides))
		entries = append(entries, k.entry(&value, synonyms, false))
	}
	return entries
}

// DescribeBroker returns all configurations of the broker, and those of its listeners that are set,
// sorted by name.
func (l Layers) DescribeBroker() []Entry {
	entries := make([]Entry, 0, len(brokerTable.keys))
	for _, k := range brokerTable.keys {
		synonyms := l.synonyms(k)
		var value *string
		if len(synonyms) > 0 {
			value = synonyms[0].Value
		}
		entries = append(entries, k.entry(value, synonyms, k.Dynamic == ReadOnly))
	}
	for name, value := range l.Static {
		k, err := BrokerKey(name)
		if _, _, ofListener := listenerKey(name); !ofListener || err != nil || k.Check(value) != nil {
			continue
		}
		s := k.synonym(value, SourceStaticBroker)
		entries = append(entries, k.entry(s.Value, []Synonym{s}, true))
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries
}

// DescribeDefaultBroker returns the configurations that are set for all brokers, sorted by name. It
// is the answer of DescribeConfigs for the broker with the empty name.
func (l Layers) DescribeDefaultBroker() []Entry {
	var entries []Entry
	for _, k := range brokerTable.keys {
		if value, ok := validIn(l.DynamicDefault, k); ok {
			s := k.synonym(value, SourceDynamicDefaultBroker)
			entries = append(entries, k.entry(s.Value, []Synonym{s}, k.Dynamic == ReadOnly))
		}
	}
	return entries
}

func (k Key) entry(value *string, synonyms []Synonym, readOnly bool) Entry {
	e := Entry{
		Name: k.Name, Value: value, Source: SourceDefault, ReadOnly: readOnly,
		Sensitive: k.Sensitive(), Type: k.Type, Doc: k.Doc, Synonyms: synonyms,
	}
	if len(synonyms) > 0 {
		e.Source = synonyms[0].Source
	}
	if e.Sensitive {
		e.Value = nil
	}
	return e
}

// synonyms returns the values of a broker key in all layers, and those of the coarser units that it
// falls back to. As in Kafka, a key that is null itself has none, even if a coarser unit gives it a
// value.
func (l Layers) synonyms(k Key) []Synonym {
	layers := []struct {
		values map[string]string
		source Source
	}{{l.DynamicBroker, SourceDynamicBroker}, {l.DynamicDefault, SourceDynamicDefaultBroker}, {l.Static, SourceStaticBroker}}
	keys := append(make([]Key, 0, 1+len(k.fallbacks)), k)
	for _, f := range k.fallbacks {
		keys = append(keys, brokerTable.byName[f.name])
	}
	var all []Synonym
	for _, layer := range layers {
		for _, key := range keys {
			if value, ok := validIn(layer.values, key); ok {
				all = append(all, key.synonym(value, layer.source))
			}
		}
	}
	for _, key := range keys {
		if !key.Null {
			all = append(all, key.synonym(key.Default, SourceDefault))
		}
	}
	for len(all) > 0 && all[0].Name != k.Name {
		all = all[1:]
	}
	return all
}

func (k Key) synonym(value string, source Source) Synonym {
	s := Synonym{Name: k.Name, Source: source}
	if !k.Sensitive() {
		shown := k.canonical(value)
		s.Value = &shown
	}
	return s
}
