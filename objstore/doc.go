// Package objstore owns the seam to the object store: [Bucket], its
// implementations, most of them over gocloud.dev/blob, and the decorators that make a remote
// store bearable ([Retry], [Deadline], [Limit], [Metrics]; [Harden] stacks them).
//
// It knows keys and bytes. It does not know what the objects hold, and nothing
// of partitions, manifests or brokers.
//
// What every Bucket holds, and the suite in objstoretest checks:
//
//   - An object appears whole or not at all. A Put that fails may nevertheless
//     have happened (the answer was lost), never in part.
//   - Of any number of concurrent Puts of one key with IfAbsent, exactly one
//     wins; the others get [ErrExists] and change nothing.
//   - A Put that has returned is durable, and Get, Stat and List see it.
//   - GetRange fills the buffer, or says that the object ends before
//     (io.ErrUnexpectedEOF); a connection that breaks is an error of another
//     kind ([ErrUnavailable]) and never looks like the end of an object.
//   - List is in lexical order of the keys' bytes.
//   - A missing object is [ErrNotFound]; a missing bucket never looks like a
//     bucket without objects, but is [ErrNoBucket].
//   - Every error that may go away by itself wraps [ErrUnavailable]; no other
//     error is worth a retry.
//   - The body of a Put is not touched after Put has returned.
//
// What the parts of gocloud.dev are used for, and where not:
//
//	mem://   memblob, as it is
//	gs://    not at all: the JSON API over net/http with Google's default credentials. gcsblob brings gRPC, xDS and OpenTelemetry with it,
//	         a quarter of the binary. An upload carries its CRC32C, which the server checks; nothing is retried below Retry.
//	s3://    s3blob to read, list and delete. Put is one PutObject whatever the size (5 GiB at most), streamed from the body: no part
//	         buffers in memory (s3blob would allocate six parts an upload), no abandoned multipart uploads to pay for, and If-None-Match
//	         where every S3-compatible server honors it. The SDK's own retries are off.
//	file://  fileblob to read and delete. Put and List are ours: fileblob does not fsync, its IfNotExist is a race (a mutex per writer,
//	         then stat and rename), it lists its temporary files, and its order is not lexical.
//
// Azure is left out: the version of azureblob at hand panics when an upload fails.
package objstore
