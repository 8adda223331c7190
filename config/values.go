package config

import (
	"fmt"
	"time"
)

// Values are effective configurations: complete, valid, immutable.
type Values struct {
	byName map[string]any // nil for null
}

// Int64 returns an INT, SHORT or LONG. Like all typed getters it panics if the table has no such
// name with this type: that is an error in the program, not in the configuration.
func (v Values) Int64(name string) int64 { return get[int64](v, name) }

// Int32 returns an INT or SHORT.
func (v Values) Int32(name string) int32 {
	n := get[int64](v, name)
	if int64(int32(n)) != n {
		panic(fmt.Sprintf("config: %s=%d is not an int32", name, n))
	}
	return int32(n)
}

// Duration returns a number of milliseconds, capped at the longest duration. Negative values such
// as -1 stay negative.
func (v Values) Duration(name string) time.Duration {
	ms := get[int64](v, name)
	const longest = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(min(ms, longest)) * time.Millisecond
}

// Bool returns a BOOLEAN.
func (v Values) Bool(name string) bool { return get[bool](v, name) }

// Float64 returns a DOUBLE.
func (v Values) Float64(name string) float64 { return get[float64](v, name) }

// String returns a STRING; "" if it is null.
func (v Values) String(name string) string { return get[string](v, name) }

// List returns a LIST; the caller must not modify it.
func (v Values) List(name string) []string { return get[[]string](v, name) }

func get[T any](v Values, name string) T {
	value, ok := v.byName[name]
	if !ok {
		panic("config: no configuration named " + name)
	}
	if value == nil {
		var zero T
		return zero
	}
	t, ok := value.(T)
	if !ok {
		panic(fmt.Sprintf("config: %s is a %T, not a %T", name, value, t))
	}
	return t
}
