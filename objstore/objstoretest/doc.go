// Package objstoretest is a kit for tests on object stores. [Run] is the suite that every
// objstore.Bucket must pass, [Faults] is a Bucket that fails on demand, and [StartS3], [StartGCS]
// and [StartAzure] start servers on loopback ports.
package objstoretest
