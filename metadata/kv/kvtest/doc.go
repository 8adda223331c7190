// Package kvtest owns the conformance suite of kv.Store (Run) and a store in memory
// (MemStore), on which tests of the packages above the seam run. Every implementation
// runs the suite in its own tests; what the suite does not check, the users of the
// seam must not rely on.
//
// No product code imports it, and it must not know what keys and values mean.
package kvtest
