package main

import (
	"testing"
	"time"
)

func TestParsePosition(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	for text, want := range map[string]position{
		"beginning":                  {kind: atBeginning},
		"end":                        {kind: atEnd},
		"0":                          {kind: atOffset},
		"123":                        {kind: atOffset, at: 123},
		"@1699999999999":             {kind: atTime, at: 1_699_999_999_999},
		"@0":                         {kind: atTime},
		"@2023-11-14T22:13:20Z":      {kind: atTime, at: 1_700_000_000_000},
		"@2023-11-15T00:13:20+02:00": {kind: atTime, at: 1_700_000_000_000},
		"@90s":                       {kind: atTime, at: 1_700_000_000_000 - 90_000},
		"@1h30m":                     {kind: atTime, at: 1_700_000_000_000 - 5_400_000},
		"@7d":                        {kind: atTime, at: 1_700_000_000_000 - 7*86_400_000},
		"@1969-01-01T00:00:00Z":      {kind: atTime},
	} {
		if got, err := parsePosition(text, now); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "-1", "@", "@-5", "@-1h", "@tomorrow", "1.5", "Beginning", "@d"} {
		if got, err := parsePosition(text, now); err == nil {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}

func TestUnescape(t *testing.T) {
	for text, want := range map[string]string{
		`plain`: "plain", `a\nb\tc\r`: "a\nb\tc\r", `\0`: "\x00", `\\n`: `\n`, `\x41\x7c`: "A|", `\xzz`: `\xzz`, `\x4`: `\x4`, `\q`: `\q`, `end\`: `end\`,
	} {
		if got := unescape(text); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}

func TestByteSize(t *testing.T) {
	for n, want := range map[int64]string{
		-1: "-", 0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 20: "1.0 MiB", 1536 << 20: "1.5 GiB", 1 << 62: "4096.0 PiB",
	} {
		if got := byteSize(n); got != want {
			t.Errorf("%d: got %s, want %s", n, got, want)
		}
	}
}

func TestOffsetRange(t *testing.T) {
	for _, c := range []struct {
		start, end int64
		want       string
	}{{0, 10, "0..9"}, {5, 5, "empty"}, {-1, 5, "-"}, {5, -1, "-"}} {
		if got := offsetRange(c.start, c.end); got != c.want {
			t.Errorf("[%d, %d): got %s, want %s", c.start, c.end, got, c.want)
		}
	}
}
