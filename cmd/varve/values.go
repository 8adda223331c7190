package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keyValues reads KEY=VALUE arguments; flag is named in errors.
func keyValues(flag string, list []string) (map[string]string, error) {
	values := make(map[string]string, len(list))
	for _, item := range list {
		key, value, ok := strings.Cut(item, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return nil, fmt.Errorf("%s %s: want KEY=VALUE", flag, item)
		}
		if _, twice := values[key]; twice {
			return nil, fmt.Errorf("%s %s: %s is given twice", flag, item, key)
		}
		values[key] = value
	}
	return values, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// position is where to begin reading: at an offset, at a time, at an end of the log.
type position struct {
	kind positionKind
	at   int64 // offset, or unix ms
}

type positionKind int

const (
	atBeginning positionKind = iota
	atEnd
	atOffset
	atTime
)

// parsePosition reads beginning, end, an offset, or @ and a time: RFC 3339, unix ms, or a duration
// before now.
func parsePosition(s string, now time.Time) (position, error) {
	switch s {
	case "beginning":
		return position{kind: atBeginning}, nil
	case "end":
		return position{kind: atEnd}, nil
	}
	if text, ok := strings.CutPrefix(s, "@"); ok {
		ms, err := parseTime(text, now)
		if err != nil {
			return position{}, fmt.Errorf("--from %s: %w", s, err)
		}
		return position{kind: atTime, at: ms}, nil
	}
	offset, err := strconv.ParseInt(s, 10, 64)
	if err != nil || offset < 0 {
		return position{}, fmt.Errorf("--from %s: want beginning, end, an offset, or @TIME", s)
	}
	return position{kind: atOffset, at: offset}, nil
}

func parseTime(s string, now time.Time) (ms int64, err error) {
	if ms, err = strconv.ParseInt(s, 10, 64); err == nil && ms >= 0 {
		return ms, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return max(t.UnixMilli(), 0), nil
	}
	if ago, err := parseDuration(s); err == nil && ago >= 0 {
		return max(now.Add(-ago).UnixMilli(), 0), nil
	}
	return 0, fmt.Errorf("%q is not a time: want 2006-01-02T15:04:05Z, milliseconds since 1970, or how long ago (90s, 15m, 1h, 7d)", s)
}

// parseDuration is time.ParseDuration with days.
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}

// unescape replaces \n, \r, \t, \\, \0 and \xHH; other sequences are kept.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case '0':
			b.WriteByte(0)
		case '\\':
			b.WriteByte('\\')
		case 'x':
			if i+2 < len(s) {
				if v, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
					b.WriteByte(byte(v))
					i += 2
					continue
				}
			}
			b.WriteString(`\x`)
		default:
			b.WriteByte('\\')
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// parseBrokerID reads the id of one broker.
func parseBrokerID(s string) (int32, error) {
	id, err := strconv.ParseInt(s, 10, 32)
	if err != nil || id < 0 {
		return 0, fmt.Errorf("broker %s: want a broker's number", s)
	}
	return int32(id), nil
}
