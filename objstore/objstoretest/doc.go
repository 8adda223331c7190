// Package objstoretest helps test what is built on object stores: [Run] is the
// suite that every objstore.Bucket passes, [Faults] a Bucket that misbehaves on
// demand, and [StartS3] a real S3 server on a loopback port.
package objstoretest
