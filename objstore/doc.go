// Package objstore owns the seam to the object store: [Bucket], its implementations (most of them
// over gocloud.dev/blob), and the decorators that make a remote store dependable ([Retry], [Hedge],
// [Limit], [Deadline], [Trace], [Metrics]). [Harden] stacks them:
//
//	caller ─▶ Retry ─▶ Hedge ─▶ Limit ─▶ Deadline ─▶ Trace ─▶ Metrics ─▶ store
//
// It knows keys and bytes. It must not know what the objects hold, nor partitions, manifests or
// brokers.
//
// Every Bucket guarantees the following, which the suite in objstoretest checks:
//
//   - An object appears whole or not at all. A Put that fails may have stored the object (if the
//     answer was lost), but never a part of it.
//   - Of any number of concurrent Puts of one key with IfAbsent, exactly one wins. The others get
//     [ErrExists] and change nothing.
//   - After Put has returned, the object is durable, and Get, Stat and List see it.
//   - GetRange fills the buffer, or reports that the object ends earlier (io.ErrUnexpectedEOF). A
//     broken connection is another error ([ErrUnavailable]) and never looks like the end of an
//     object.
//   - List is in the lexical order of the keys' bytes.
//   - A missing object is [ErrNotFound]. A missing bucket is [ErrNoBucket] and never looks like a
//     bucket without objects.
//   - Every temporary error wraps [ErrUnavailable]; no other error is worth a retry.
//   - The body of a Put is not touched after Put has returned.
//   - A Put, GetRange, Stat or Delete is sent to the store once. Only Retry repeats requests, and
//     Hedge those of GetRange. If a driver repeated a conditional Put by itself, the Put would
//     report its own success as a conflict.
//
// Open creates a Bucket and sends no request; [Bucket].Check asks the store. A broker starts while
// its store is away, but not with a store that it cannot use.
//
// What the drivers of gocloud.dev are used for, and what not:
//
//	mem://     memblob, unchanged.
//	gs://      gcsblob over the JSON API. Google's client would repeat failed requests, so this
//	           package's transport is below it (gcs_call.go). An upload is one request without
//	           a buffer and carries its CRC32C, which the server checks.
//	azblob://  azureblob, with this package's transport. An upload below 4 MiB is one request.
//	           A larger one is blocks, two of which are in memory and in flight at a time; they
//	           become an object at once. A Writer of azureblob must not be used: it panics when
//	           an upload fails.
//	s3://      s3blob to read and list. Put is one PutObject of any size up to 5 GiB, streamed
//	           from the body. There are no part buffers in memory (s3blob would allocate six
//	           parts an upload) and no abandoned multipart uploads to pay for, and
//	           If-None-Match is where every S3-compatible server honors it. A deletion is one
//	           request, or one for a thousand objects. The SDK's own retries are off.
//	file://    fileblob to read and delete. Put and List are this package's: fileblob does not
//	           fsync, its IfNotExist is a race (a mutex per writer, then stat and rename), it
//	           lists its temporary files, and its order is not lexical.
package objstore
