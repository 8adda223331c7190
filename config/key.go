package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Errors that the checks of this package wrap.
var (
	// ErrUnknownKey means that neither Kafka nor Varve has the name.
	ErrUnknownKey = errors.New("unknown configuration")
	// ErrNotSupported means that Kafka has the name, but this version does not serve it.
	ErrNotSupported = errors.New("configuration not supported yet")
	// ErrReadOnly means that a broker configuration cannot be changed in the requested way.
	ErrReadOnly = errors.New("cannot update configuration dynamically")
)

// Type is the type of a configuration's value, numbered as in DescribeConfigs.
type Type int8

// The types of Kafka's ConfigDef.
const (
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

// String returns Kafka's name of the type.
func (t Type) String() string {
	names := [...]string{"UNKNOWN", "BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS", "PASSWORD"}
	if t < 0 || int(t) >= len(names) {
		return names[0]
	}
	return names[t]
}

// Scope says how a broker configuration may change while brokers run.
type Scope int8

// The scopes of Kafka's dynamic broker configurations.
const (
	// ReadOnly configurations are read once, at start.
	ReadOnly Scope = iota
	// PerBroker configurations can be set for one broker only.
	PerBroker
	// ClusterWide configurations can be set for one broker and for all.
	ClusterWide
)

// String returns Kafka's name of the scope.
func (s Scope) String() string {
	switch s {
	case PerBroker:
		return "per-broker"
	case ClusterWide:
		return "cluster-wide"
	default:
		return "read-only"
	}
}

// Key is one configuration that this version honors.
type Key struct {
	Name    string
	Type    Type
	Default string // in the form that parse accepts; "" with Null
	Null    bool   // there is no default: null until it is set
	Unit    string // of numbers: "ms", "bytes", …; "" for counts and words
	Doc     string // one sentence

	Synonym string // of a topic key: the broker key with its default; "" for none
	Dynamic Scope  // of a broker key
	// Setting is the process setting that a broker key only shows; --set does not accept such a
	// key.
	Setting string

	// Validate checks a value that has the right type; nil accepts all of them.
	Validate func(value string) error
	// allowed describes for people what Validate accepts.
	allowed string
	// fallbacks hold the value while the key is null, the strongest first.
	fallbacks []fallback
}

// fallback is a broker key in a coarser unit: log.retention.hours for log.retention.ms.
type fallback struct {
	name   string
	factor int64 // to the unit of the key that falls back
}

// Sensitive reports whether the value is a secret, which is never shown.
func (k Key) Sensitive() bool { return k.Type == Password }

// Check returns a *[ValueError] if the value is not of the key's type or not allowed.
func (k Key) Check(value string) error {
	if _, err := k.parse(value); err != nil {
		return &ValueError{Name: k.Name, Value: k.shown(value), Reason: err.Error()}
	}
	if k.Validate != nil {
		if err := k.Validate(strings.TrimSpace(value)); err != nil {
			return &ValueError{Name: k.Name, Value: k.shown(value), Reason: err.Error()}
		}
	}
	return nil
}

func (k Key) shown(value string) string {
	if k.Sensitive() {
		return "[hidden]"
	}
	return value
}

// parse converts a value to its Go type: bool, int64 (for Int, Short and Long), float64, []string
// or string.
func (k Key) parse(value string) (any, error) {
	v := strings.TrimSpace(value)
	switch k.Type {
	case Boolean:
		switch strings.ToLower(v) {
		case "true":
			return true, nil
		case "false":
			return false, nil
		}
		return nil, errors.New("Expected value to be either true or false") //nolint:staticcheck // Kafka's words, shown to clients as they are
	case Int, Short, Long:
		bits := map[Type]int{Int: 32, Short: 16, Long: 64}[k.Type]
		n, err := strconv.ParseInt(v, 10, bits)
		if err != nil {
			return nil, fmt.Errorf("Not a number of type %s", k.Type) //nolint:staticcheck // Kafka's words, shown to clients as they are
		}
		return n, nil
	case Double:
		f, err := strconv.ParseFloat(v, 64)
		if err != nil || f != f || strings.ContainsAny(v, "xXiI_") {
			return nil, fmt.Errorf("Not a number of type %s", k.Type) //nolint:staticcheck // Kafka's words, shown to clients as they are
		}
		return f, nil
	case List:
		return splitList(v), nil
	default:
		return v, nil
	}
}

// canonical returns the value in the form that DescribeConfigs shows.
func (k Key) canonical(value string) string {
	v, err := k.parse(value)
	if err != nil {
		return value
	}
	switch v := v.(type) {
	case bool:
		return strconv.FormatBool(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case []string:
		return strings.Join(v, ",")
	case string:
		return v
	default:
		return value
	}
}

func splitList(v string) []string {
	if v == "" {
		return nil
	}
	parts := strings.Split(v, ",")
	for i := range parts {
		parts[i] = strings.TrimSpace(parts[i])
	}
	return parts
}

// ValueError is a value that a configuration does not accept.
type ValueError struct {
	Name, Value, Reason string
}

// Error has the form of Kafka's ConfigException, which tools match on.
func (e *ValueError) Error() string {
	return fmt.Sprintf("Invalid value %s for configuration %s: %s", e.Value, e.Name, e.Reason)
}

// TopicKeys returns the topic configurations, sorted by name.
func TopicKeys() []Key { return slices.Clone(topicTable.keys) }

// BrokerKeys returns the broker configurations, sorted by name.
func BrokerKeys() []Key { return slices.Clone(brokerTable.keys) }

// TopicKey returns the topic configuration of that name, or an error that wraps [ErrUnknownKey] or
// [ErrNotSupported].
func TopicKey(name string) (Key, error) { return topicTable.find(name) }

// BrokerKey returns the broker configuration of that name, or an error that wraps [ErrUnknownKey]
// or [ErrNotSupported].
//
// A configuration of one listener (listener.name.<name>.ssl.…) is the key that it overrides, under
// its own name.
func BrokerKey(name string) (Key, error) {
	if listener, key, ok := listenerKey(name); ok {
		return findListenerKey(name, listener, key)
	}
	return brokerTable.find(name)
}

// table is a set of keys of one kind.
type table struct {
	kind   string // "topic" or "broker"
	keys   []Key  // sorted by name
	byName map[string]Key
	others []string // names that Kafka has and this version does not serve
}

func newTable(kind string, others []string, keys ...Key) table {
	t := table{kind: kind, byName: make(map[string]Key, len(keys))}
	for _, k := range keys {
		t.byName[k.Name] = k
	}
	t.keys = slices.SortedFunc(slices.Values(keys), func(a, b Key) int { return strings.Compare(a.Name, b.Name) })
	for _, name := range others {
		if _, served := t.byName[name]; !served {
			t.others = append(t.others, name)
		}
	}
	return t
}

func (t table) find(name string) (Key, error) {
	if k, ok := t.byName[name]; ok {
		return k, nil
	}
	if remedy, ok := instead[name]; ok {
		return Key{}, fmt.Errorf("%w: %s: %s", ErrNotSupported, name, remedy)
	}
	if slices.Contains(t.others, name) {
		return Key{}, fmt.Errorf("%w: %s", ErrNotSupported, name)
	}
	names := make([]string, 0, len(t.keys))
	for _, k := range t.keys {
		names = append(names, k.Name)
	}
	return Key{}, unknown(fmt.Errorf("%w: %s (of a %s)", ErrUnknownKey, name, t.kind), name, names)
}
