// Package format defines what the remote tier stores, as bytes and as types: the documents that
// describe what is there, the segment objects that hold the records, and the pointer to the newest
// document. It encodes, decodes and checks them, walks the page tree, and makes the next version of
// a manifest. It knows no bucket, no metadata store, no clock and no lock: package tiering decides
// which broker may write, and when.
//
// # Growth
//
// Brokers of several versions share what is stored, so each document says which of them may use it.
//
//   - A member of a JSON object that this build does not know is kept when the object is rewritten.
//     A writer may add members that older builds can do without.
//   - "read" names features that a reader has to know. A build that is missing one returns
//     ErrUnsupportedFormat for that document and for nothing else.
//   - "write" names features that a writer has to know. A build that is missing one reads the
//     document and changes nothing: no commit, no sweep, no deletion.
//   - An entry of a manifest or of a page has "read" features of its own. A feature, a location or
//     a kind of name that this build does not know makes that entry alone unsupported. The entry is
//     kept as it is: expiry and sweeps end before it.
//   - Every build has to understand these members of an entry: name, start, end, bytes, max_ts,
//     uploaded_ms and epochs. Of a reference to a page it has to understand all but loc and read:
//     the tree is made of them.
//   - A feature by which an object is named elsewhere than at its own start, or by another
//     partition, is a write feature: a writer that does not know it would take the object
//     for an orphan.
//   - A part of a segment object that this build does not know is skipped, unless it is critical.
//
// The table of features is in features.go. It is empty: the rest of this text is the format
// without any feature.
//
// # Objects
//
// The objects of a partition are below <prefix>/<topic id>/<partition>/, and never change after
// they are written:
//
//	<start offset, 20 digits>-<leader epoch, 10 digits>-<attempt>.segment
//	page/<level>-<start offset, 20 digits>-<leader epoch, 10 digits>-<attempt>
//	manifest/<leader epoch, 10 digits>-<sequence, 20 digits>-<attempt>
//	trash/<leader epoch, 10 digits>-<sequence, 20 digits>-<attempt>
//
// An attempt is random. So a write or a deletion that arrives late never meets an object that was
// written after it. A segment's start is its base offset, unless the previous leader cut its
// segments elsewhere: then it is the offset at which the tier ended. The sequence of trash is that
// of the manifest from which it was cut.
//
// Three kinds of objects describe the bucket, its topics, and what belongs to no topic:
//
//	<prefix>/varve-bucket
//	<prefix>/topics/<topic id>/<revision, 20 digits>
//	<prefix>/orphans/<topic id>
//
// The newest revision of a topic counts. The note of an orphan is the only object that may be
// written again under its name: an older deletion that arrives late only costs time.
//
// # Documents
//
// Manifests, pages, trash pages and the catalogue are text. Each begins with a line
//
//	varve-manifest 3 <length> <CRC32C, 8 hex digits>
//
// (or varve-page, varve-trash, varve-bucket, varve-topic, varve-orphan), followed by that many
// bytes of JSON with that checksum. They are small and rare, and people must be able to read them
// on the day that they need them without Varve. No document above MaxDocumentBytes is written. The
// members are those of [Manifest], [Page], [TrashPage], [Bucket], [Topic] and [Orphan].
//
// A manifest contains the newest entries itself. Older entries are sealed into pages, and those
// into pages of pages. So neither the size of a manifest nor the cost of an upload grows with the
// history. Objects that are to be deleted are listed as trash, which is sealed in the same way.
//
// The pointer is the value of the key tier/<topic id>/<partition> of the metadata store: JSON
// without a line before it, see [Pointer].
//
// # Segment object
//
// A segment object is written with one PUT. Numbers are big-endian. Positions count from the
// segment's first byte in the object:
// object:
//
//	log bytes     as in the .log file, or as chunks that are stored in another way
//	parts         from the least to the most frequently read:
//	              producer snapshot, leader epochs, transaction index, time index, offset index,
//	              description, chunk directory
//	part table    32 bytes a part
//	trailer       32 bytes
//
// The bytes from the description to the end are the hot ones. One small read of them, a description
// and 48 bytes a chunk, serves look-ups by offset and by time. The parts before them are for
// restoring local files.
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
//	                          a snapshot without producers: there are none
//	2     leader epochs       of the log up to the segment's end, each: epoch int32,
//	                          start offset int64
//	3     transaction index   as in the .txnindex file
//	4     time index          as in the .timeindex file
//	5     offset index        as in the .index file
//	6     description         JSON, see [Description]; critical
//	7     chunk directory     critical
//
// A part without bytes is absent, except for the snapshot.
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
// A chunk holds whole batches, at least one, and ends before the batch that would make it longer
// than the description's chunk_bytes. So no batch spans two chunks, and each chunk can be
// compressed, encrypted or moved by itself.
//
// # Rebuilding
//
// Without the metadata store, the newest whole manifest of a partition (by leader epoch, sequence,
// and the time of the object) is safe to adopt. An object is deleted only a grace period after the
// commit of the manifest that no longer names it. The newest manifest may never have been
// committed, but what it names was uploaded and verified before the manifest was written. Without
// manifests the segment objects themselves describe what they hold.
//
// # Invariants
//
//   - Decoding and encoding again loses nothing (TestUnknownMembersAreKept).
//   - Any damage is ErrCorrupt, and nothing that a newer build wrote is (TestDamageIsNoticed,
//     TestDocumentsFromTheFuture).
//   - The entries of a manifest follow one another without a gap or an overlap from its start to
//     its end, and its counts match them (TestManifestAgainstAModel).
//   - A walk visits each entry once, in order, and loads no page that it does not need
//     (TestTreeAgainstAList).
//   - No document makes a decoder allocate what the document merely announces
//     (FuzzDocuments, FuzzIndex).
package format
