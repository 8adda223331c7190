// Package objstoretest helps test what is built on object stores: [Run] is the
// suite that every objstore.Bucket passes, [Faults] a Bucket that misbehaves on
// demand; [StartS3], [StartGCS] and [StartAzure] are servers on loopback ports.
package objstoretest
