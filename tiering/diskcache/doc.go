// Package diskcache keeps blocks of immutable objects on a local disk: chunks of the remote tier for a
// time when memory has not got them any more, also after a restart. It knows files, blocks and how
// often they are asked for; it knows nothing of object stores, of segments or of who reads.
//
// # Files
//
// A block is a file with its content and nothing else:
//
//	<dir>/lock                                     held while the cache runs
//	<dir>/<2 hex digits>/<30 hex digits>-<bytes>   a block
//	<dir>/<2 hex digits>/*.tmp                     one that is being written
//
// The digits are the FNV-1a hash, 128 bits, of the object's key and the block's position. So the
// names are the index: a start reads directories and no file. Nothing is synced. Who asks for a block
// knows its size and its CRC32C, and what a crash has torn, a disk has damaged or a hash has mistaken
// is found by them, is a miss, and is removed.
//
// # What is kept
//
// A block is kept when it is used for the second time: when memory has had a second use of it (Put),
// or when it was read from the store for the second time in a while (Fetched). So a replay of a long
// history writes nothing, and takes the room of nothing. Of what is kept, that goes first which was
// not asked for the longest; a start does not know the order.
//
// # Invariants
//
//   - What Get returns has the size and the checksum that were asked for. (TestDamageIsAMiss)
//   - The blocks take no more than the bytes that the cache may have. (TestCacheStaysWithinItsBytes)
//   - Nobody waits for a disk: a queue that is full, an answer that does not come in time and a disk
//     that is full or broken are misses. (TestSlowDiskIsAMiss, TestFullDiskIsLeftAlone)
//   - What is read once takes no room. (TestReplayTakesNoRoom)
package diskcache
