// Package calc is what the tests of the tool plant faults in.
package calc

import "errors"

// ErrNegative refuses a negative limit.
var ErrNegative = errors.New("negative limit")

// Sum adds the numbers from 1 to n.
func Sum(n int) int {
	sum := 0
	for i := 1; i <= n; i++ {
		sum += i
	}
	return sum
}

// Clamp is n, at most limit.
func Clamp(n, limit int) (int, error) {
	if limit < 0 {
		return 0, ErrNegative
	}
	return min(n, limit), nil
}
