// Package calc is the sample in which the tests of the tool plant faults.
package calc

import "errors"

// ErrNegative reports a negative limit.
var ErrNegative = errors.New("negative limit")

// Sum adds the numbers from 1 to n.
func Sum(n int) int {
	sum := 0
	for i := 1; i <= n; i++ {
		sum += i
	}
	return sum
}

// Clamp returns n, but at most limit.
func Clamp(n, limit int) (int, error) {
	if limit < 0 {
		return 0, ErrNegative
	}
	return min(n, limit), nil
}
