// Package document reads and writes JSON objects that brokers of several
// versions share: what is stored in etcd and in the bucket.
//
// A reader keeps the members that it does not know and writes them back, so that
// an old broker that changes a value drops no field of a newer one. Nothing here
// knows what the objects mean.
//
// # Invariants
//
//   - Marshal(v, unknown) after Unmarshal has every member of the first object.
//   - Unknown members are written back byte for byte, after the known ones.
//   - An object without unknown members costs no allocation for them.
package document
