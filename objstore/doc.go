// Package objstore owns the seam to the object store: [Bucket], its
// implementations, most of them over gocloud.dev/blob, and the decorators that make a remote
// store bearable ([Retry], [Hedge], [Limit], [Deadline], [Metrics]; [Harden] stacks them).
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
//   - A Put, GetRange, Stat or Delete is sent to the store once. Repeating is the
//     business of Retry, and of Hedge for GetRange, alone: a conditional Put that is repeated without its
//     knowledge reports its own success as a conflict.
//
// Open makes a Bucket and sends no request; [Bucket].Check asks the store. A broker
// starts while its store is away, and not with a store that cannot be used.
//
// What the drivers of gocloud.dev are used for, and where not:
//
//	mem://     memblob, as it is.
//	gs://      gcsblob over the JSON API, with our transport under Google's client, which
//	           would repeat what fails (gcs_call.go). An upload is one request without a
//	           buffer and carries its CRC32C, which the server checks.
//	azblob://  azureblob, with our transport. An upload is one request below 4 MiB. Above
//	           that it is blocks, two of which are in memory and under way; they become an
//	           object at once. A Writer of azureblob must not be used: it panics when an
//	           upload fails.
//	s3://      s3blob to read and list. Put is one PutObject whatever the size (5 GiB at
//	           most), streamed from the body: no part buffers in memory (s3blob would
//	           allocate six parts an upload), no abandoned multipart uploads to pay for, and
//	           If-None-Match where every S3-compatible server honors it. Deletions are one
//	           request each, or one for a thousand. The SDK's own retries are off.
//	file://    fileblob to read and delete. Put and List are ours: fileblob does not fsync,
//	           its IfNotExist is a race (a mutex per writer, then stat and rename), it lists
//	           its temporary files, and its order is not lexical.
package objstore
