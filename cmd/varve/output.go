package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/varvelog/varve/client"
)

// absent is what tables print for numbers that the broker does not report.
const absent = "-"

// printTable writes aligned columns under a line of headings.
func (a *app) printTable(headings []string, rows [][]string) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	if _, err := fmt.Fprintln(w, strings.Join(headings, "\t")); err != nil {
		return err
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// number prints a number that may be unknown.
func number(n int64) string {
	if n == client.Unknown {
		return absent
	}
	return strconv.FormatInt(n, 10)
}

// byteSize prints a size in the unit that keeps it short.
func byteSize(n int64) string {
	if n == client.Unknown {
		return absent
	}
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if value /= 1024; value < 1024 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}

// offsetRange prints the offsets from start to end, which is exclusive.
func offsetRange(start, end int64) string {
	switch {
	case start == client.Unknown || end == client.Unknown:
		return absent
	case start >= end:
		return "empty"
	default:
		return fmt.Sprintf("%d..%d", start, end-1)
	}
}

// instant prints a time in unix ms.
func instant(ms int64) string {
	if ms < 0 {
		return absent
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

// known returns a number for JSON, or null if it is unknown.
func known(n int64) *int64 {
	if n == client.Unknown {
		return nil
	}
	return &n
}

// told returns a word for JSON, or null if the broker did not send it.
func told(word string) *string {
	if word == "" {
		return nil
	}
	return &word
}

func int32s(list []int32) string {
	parts := make([]string, len(list))
	for i, n := range list {
		parts[i] = strconv.Itoa(int(n))
	}
	return strings.Join(parts, ",")
}
