// Package document reads and writes JSON objects that brokers of several versions share: those
// stored in etcd and in the bucket.
//
// A reader keeps the members that it does not know and writes them back. So an old broker that
// changes a value drops no field of a newer one. The package does not know what the objects mean.
//
// # Invariants
//
//   - The object that Marshal(v, unknown) returns after Unmarshal has every member of the first
//     object.
//   - Unknown members are written back byte for byte, after the known ones.
//   - An object without unknown members costs no allocation for them.
package document
