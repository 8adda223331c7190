// Package metadatatest is the conformance suite of metadata.Store. Every
// implementation runs it in its own tests; what the suite does not check, the
// users of the seam must not rely on.
package metadatatest
