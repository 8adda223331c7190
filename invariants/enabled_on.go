//go:build invariants

package invariants

// Enabled reports whether this build checks assertions.
const Enabled = true
