// Package format is what the remote tier stores, as bytes and as types: the documents that say what
// is there, the segment objects that hold the records, and the pointer to the newest document. It
// encodes, decodes and checks them, follows the page tree, and makes the next version of a
// manifest. It knows no bucket, no metadata store, no clock and no lock: who may write, and when,
// is decided in package tiering.
//
// # Growth
//
// Brokers of several versions share what is stored, so each document says itself who may use it.
//
//   - A member of a JSON object that this build does not know is kept where the object is written
//     again. A writer may add members that older builds can do without.
//   - "read" names features that a reader has to know. A build that lacks one answers
//     ErrUnsupportedFormat for that document and for nothing else.
//   - "write" names features that a writer has to know. A build that lacks one reads the document
//     and changes nothing: no commit, no sweep, no deletion.
//   - An entry of a manifest or of a page has "read" features of its own. One that this build does
//     not know, a location, or a kind of name, makes that entry alone unsupported. It is kept as it
//     is: what expires and what is swept ends before it.
//   - Of an entry every build has to understand name, start, end, bytes, max_ts, uploaded_ms and
//     epochs, and of a reference to a page all but loc and read: the tree is made of them.
//   - A feature that lets an object be named elsewhere than at its own start, or by another
//     partition, is a write feature: a writer that does not know it would take the object for an
//     orphan.
//   - A part of a segment object that this build does not know is skipped, unless it is critical.
//
// The table of features is in features.go. It is empty: what follows is the format without any.
//
// # Objects
//
// The objects of a partition are below <prefix>/<topic id>/<partition>/, and are never changed once
// they are written:
//
//	<start offset, 20 digits>-<leader epoch, 10 digits>-<attempt>.segment
//	page/<level>-<start offset, 20 digits>-<leader epoch, 10 digits>-<attempt>
//	manifest/<leader epoch, 10 digits>-<sequence, 20 digits>-<attempt>
//	trash/<leader epoch, 10 digits>-<sequence, 20 digits>-<attempt>
//
// An attempt is drawn at random. So a write or a deletion that arrives late never meets an object
// that was written after it. A segment's start is its base offset, unless the leader before cut its
// segments elsewhere: then it is where the tier ended. The sequence of trash is that of the
// manifest which it was cut from.
//
// Three kinds of objects describe the bucket and its topics, and what in it belongs to no topic:
//
//	<prefix>/varve-bucket
//	<prefix>/topics/<topic id>/<revision, 20 digits>
//	<prefix>/orphans/<topic id>
//
// The newest revision of a topic counts. A note of an orphan is the one object that may come back
// under its name: a deletion of an older one that arrives late costs time.
//
// # Documents
//
// Manifests, pages, trash pages and the catalogue are text: a line
//
//	varve-manifest 3 <length> <CRC32C, 8 hex digits>
//
// (or varve-page, varve-trash, varve-bucket, varve-topic, varve-orphan) and then so many bytes of JSON with that
// checksum. They are small and rare, and on the day that they are needed without Varve, people must
// be able to read them. Nothing above MaxDocumentBytes is written. The members are those of
// [Manifest], [Page], [TrashPage], [Bucket], [Topic] and [Orphan].
//
// A manifest has the newest entries itself. Older ones are sealed into pages, and those into pages
// of pages, so that its size, and the cost of an upload, does not grow with the history. What is to
// be deleted is listed as trash, and sealed in the same way.
//
// The pointer is the value of the key tier/<topic id>/<partition> of the metadata store: JSON
// without a line before it, see [Pointer].
//
// # Segment object
//
// It is one PUT. Numbers are big-endian, positions count from the segment's first byte in the
// object:
//
//	log bytes     as in the .log file, or as chunks that are stored in another way
//	parts         from what is read least to what is read most:
//	              producer snapshot, leader epochs, transaction index, time index, offset index,
//	              description, chunk directory
//	part table    32 bytes a part
//	trailer       32 bytes
//
// The bytes from the description to the end are the hot ones: one small read, 48 bytes a chunk and
// a description, serves look-ups by offset and by time. The parts before are for restoring local
// files.
//
//	part table entry                          trailer
//	 0  type      uint16                       0  position of the part table  uint64
//	 2  flags     uint16, bit 0: critical      8  number of parts             uint32
//	 4  CRC32C    uint32, of the part         12  CRC32C of the part table    uint32
//	 8  position  uint64                      16  version                     uint16 (2)
//	16  length    uint64                      18  size of the trailer         uint16 (32)
//	24  reserved  uint64 (0)                  20  CRC32C of bytes 0 to 20     uint32
//	                                          24  "VARVESEG"
//
//	type  part
//	1     producer snapshot   as in the .snapshot file at the segment's end. Absent: not known;
//	                          a snapshot of no producers: there are none
//	2     leader epochs       of the log up to the segment's end, each: epoch int32, start offset int64
//	3     transaction index   as in the .txnindex file
//	4     time index          as in the .timeindex file
//	5     offset index        as in the .index file
//	6     description         JSON, see [Description]; critical
//	7     chunk directory     critical
//
// A part of which there are no bytes is absent, but for the snapshot.
//
//	chunk directory: 8 bytes, then the entries       an entry
//	 0  number of entries  uint32                     0  position of the chunk          uint64
//	 4  size of an entry   uint16 (48, or more)       8  bytes as stored                uint32
//	 6  flags              uint16 (0)                12  bytes of the log in it         uint32
//	                                                 16  base offset of its first batch int64
//	                                                 24  largest timestamp of all
//	                                                     batches up to its end          int64
//	                                                 32  CRC32C of the stored bytes     uint32
//	                                                 36  batches                        uint32
//	                                                 40  reserved                       uint64 (0)
//
// A chunk holds whole batches, one at least, and ends before the batch that would make it longer
// than the description's chunk_bytes. So no batch lies in two chunks, and a chunk can be
// compressed, encrypted or put elsewhere by itself.
//
// # Rebuilding
//
// Without the metadata store the newest whole manifest of a partition, by leader epoch, sequence
// and the time of the object, is safe to adopt: objects go only a grace after the manifest that does
// not name them was committed. It may be one that was never committed: what it names was uploaded
// and verified before it was written. Without manifests the segment objects tell what they hold.
//
// # Invariants
//
//   - What is decoded and encoded again has all that it had (TestUnknownMembersAreKept).
//   - Any damage is ErrCorrupt, and nothing that a newer build wrote is (TestDamageIsNoticed,
//     TestDocumentsFromTheFuture).
//   - The entries of a manifest follow one another without a gap or an overlap from its start to
//     its end, and its counts are theirs (TestManifestAgainstAModel).
//   - Walks see each entry once, in order, and load no page that they need not
//     (TestTreeAgainstAList).
//   - No document announces what a decoder would allocate for (FuzzDocuments, FuzzIndex).
package format
