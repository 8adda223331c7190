// Package kvtest owns the conformance suite of kv.Store (Run) and a store in memory (MemStore) for
// the tests of the packages above the seam. Every implementation runs the suite in its own tests.
// Users of the seam must not rely on anything that the suite does not check.
//
// No product code imports it, and it must not know what keys and values mean.
package kvtest
