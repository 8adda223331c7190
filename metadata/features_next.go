//go:build varve_next

package metadata

// laterLevels are levels of varve.version that only tests know.
const laterLevels = 1
