// Package record knows Kafka's record batch format v2 (KIP-98) and nothing
// else: pure functions over bytes, no I/O, no clocks, no packages of ours.
//
// A batch, big-endian; the CRC32C covers everything from the attributes on:
//
//	 0  baseOffset            int64   offset of the first record
//	 8  batchLength           int32   bytes that follow this field
//	12  partitionLeaderEpoch  int32   epoch of the leader that appended it
//	16  magic                 int8    2
//	17  crc                   uint32
//	21  attributes            int16   0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
//	23  lastOffsetDelta       int32
//	27  baseTimestamp         int64   ms; with attribute 6: the delete horizon
//	35  maxTimestamp          int64   ms
//	43  producerId            int64   -1: none
//	51  producerEpoch         int16
//	53  baseSequence          int32
//	57  recordCount           int32
//	61  records               compressed together by the codec
//
// A record; every number is a zigzag varint, lengths of -1 stand for null:
//
//	length           of what follows
//	attributes       int8, unused
//	timestampDelta   to baseTimestamp
//	offsetDelta      to baseOffset
//	keyLength, key
//	valueLength, value
//	headerCount, then for each: keyLength, key, valueLength, value
//
// Invariants:
//
//   - No input makes a function of this package panic or allocate more than a
//     small multiple of the input plus the limit the caller gave. Records, which
//     makes headers, may take 20 times as much as they decompress to; Survey and
//     EntriesIn take nothing.
//   - What a Builder makes passes Check, and its Records are what was appended.
package record
