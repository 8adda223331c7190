package config

import "fmt"

// unknown adds the nearest known name to an error about an unknown one, if it is near enough to be
// meant.
func unknown(err error, name string, known []string) error {
	if near := nearest(name, known); near != "" {
		return fmt.Errorf("%w: did you mean %s?", err, near)
	}
	return err
}

// nearest returns the candidate with the smallest edit distance to name, or "" if none is within a
// third of the name's length.
func nearest(name string, candidates []string) string {
	best, bestDistance := "", max(2, len(name)/3)+1
	for _, c := range candidates {
		if d := editDistance(name, c, bestDistance); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// editDistance returns the number of bytes to insert, delete or replace to get from a to b. If it
// is certain to reach limit, limit is returned.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return min(row[len(b)], limit)
}
