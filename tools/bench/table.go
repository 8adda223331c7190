package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// column is what one system did in one leg, in all rounds.
type column struct {
	values, cpu   []float64
	noisy, failed int
}

// row is one leg of the table.
type row struct {
	leg, unit string
	columns   map[string]*column // by the name of the system
}

// writeTable prints results as a table in Markdown: a row for each leg and a pair of columns for
// each system, both in the order in which they first appear. The ratios compare the first system
// with each of the others.
func writeTable(w io.Writer, results []result) error {
	systems, rows := tabulate(results)
	if len(systems) == 0 {
		return nil
	}
	header := []string{"leg"}
	for _, name := range systems {
		header = append(header, name, "CPU s/GB")
	}
	for _, name := range systems[1:] {
		header = append(header, systems[0]+" ÷ "+name)
	}
	lines := []string{line(header), line(slices.Repeat([]string{"---"}, len(header)))}
	for _, r := range rows {
		lines = append(lines, line(r.cells(systems)))
	}
	if _, err := fmt.Fprintln(w, strings.Join(lines, "\n")); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	return nil
}

// tabulate sorts results into rows.
func tabulate(results []result) (systems []string, rows []*row) {
	for _, r := range results {
		if !slices.Contains(systems, r.System) {
			systems = append(systems, r.System)
		}
		i := slices.IndexFunc(rows, func(known *row) bool { return known.leg == r.Leg })
		if i < 0 {
			i = len(rows)
			rows = append(rows, &row{leg: r.Leg, unit: r.Unit, columns: map[string]*column{}})
		}
		c := rows[i].columns[r.System]
		if c == nil {
			c = &column{}
			rows[i].columns[r.System] = c
		}
		c.add(r)
	}
	return systems, rows
}

func (c *column) add(r result) {
	if r.Error != "" {
		c.failed++
		return
	}
	c.values = append(c.values, r.Value)
	if r.CPUPerGB > 0 {
		c.cpu = append(c.cpu, r.CPUPerGB)
	}
	if r.Noisy {
		c.noisy++
	}
}

func (r *row) cells(systems []string) []string {
	cells := append(make([]string, 0, 3*len(systems)), r.leg+", "+r.unit)
	for _, name := range systems {
		c := r.columns[name]
		if c == nil {
			c = &column{}
		}
		cells = append(cells, c.text(), spread(c.cpu))
	}
	for _, name := range systems[1:] {
		cells = append(cells, ratio(r.columns[systems[0]], r.columns[name]))
	}
	return cells
}

// line returns a line of a table in Markdown.
func line(cells []string) string {
	var b strings.Builder
	b.WriteString("|")
	for _, cell := range cells {
		if cell != "" {
			b.WriteString(" " + cell)
		}
		b.WriteString(" |")
	}
	return b.String()
}

// text returns the values of a cell and what a reader must know of them.
func (c *column) text() string {
	var parts []string
	if len(c.values) > 0 {
		parts = append(parts, spread(c.values))
	}
	if c.noisy > 0 {
		parts = append(parts, fmt.Sprintf("(noisy: %d of %d)", c.noisy, len(c.values)))
	}
	if c.failed > 0 {
		parts = append(parts, fmt.Sprintf("(failed: %d of %d)", c.failed, c.failed+len(c.values)))
	}
	return strings.Join(parts, " ")
}

// spread returns the median and the range of values.
func spread(values []float64) string {
	switch len(values) {
	case 0:
		return ""
	case 1:
		return figure(values[0])
	default:
		low, high := slices.Min(values), slices.Max(values)
		return fmt.Sprintf("%s [%s .. %s]", figure(median(values)), figure(low), figure(high))
	}
}

// ratio returns the median of one column divided by that of another.
func ratio(first, other *column) string {
	if first == nil || other == nil || len(first.values) == 0 || len(other.values) == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", median(first.values)/median(other.values))
}

// median returns the middle value, or the mean of the two in the middle. There must be one.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// figure returns a number with about three digits that count, and with commas from a thousand on.
func figure(v float64) string {
	switch {
	case v >= 999.5:
		digits := strconv.FormatFloat(v, 'f', 0, 64)
		for i := len(digits) - 3; i > 0; i -= 3 {
			digits = digits[:i] + "," + digits[i:]
		}
		return digits
	case v >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}
