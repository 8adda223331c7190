//go:build invariants

package invariants

// Enabled reports whether this build asserts.
const Enabled = true
