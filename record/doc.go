// Package record reads and writes Kafka's record batch format v2 (KIP-98). It is pure functions
// over bytes: no I/O, no clocks, no other package of this module.
//
// A batch, big-endian. The CRC32C covers every byte from the attributes to the end of the batch:
//
//	 0  baseOffset            int64   offset of the first record
//	 8  batchLength           int32   number of bytes after this field
//	12  partitionLeaderEpoch  int32   epoch of the leader that appended it
//	16  magic                 int8    2
//	17  crc                   uint32
//	21  attributes            int16   bits 0-2 codec, 3 timestamp type, 4 transactional,
//	                                  5 control, 6 delete horizon
//	23  lastOffsetDelta       int32
//	27  baseTimestamp         int64   ms; with attribute bit 6: the delete horizon
//	35  maxTimestamp          int64   ms
//	43  producerId            int64   -1: none
//	51  producerEpoch         int16
//	53  baseSequence          int32
//	57  recordCount           int32
//	61  records               compressed together by the codec
//
// A record. Every number is a zigzag varint; a length of -1 means null:
//
//	length           number of bytes after this field
//	attributes       int8, unused
//	timestampDelta   relative to baseTimestamp
//	offsetDelta      relative to baseOffset
//	keyLength, key
//	valueLength, value
//	headerCount, then for each header: keyLength, key, valueLength, value
//
// Invariants:
//
//   - No input makes a function of this package panic, or allocate more than a small multiple of
//     the input plus the caller's limit. Records builds headers and may take 20 times the size of
//     the decompressed records; Survey and EntriesIn allocate nothing.
//   - A batch made by a Builder passes Check, and its Records are the records that were appended.
package record
