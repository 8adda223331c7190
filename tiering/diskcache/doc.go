// Package diskcache keeps blocks of immutable objects on a local disk: chunks of the remote tier
// that memory has evicted. They survive a restart. The package knows files, blocks and how often
// they are requested. It knows nothing of object stores, segments or readers.
//
// # Files
//
// A block is a file with the block's content and nothing else:
//
//	<dir>/lock                                     held while the cache runs
//	<dir>/<2 hex digits>/<30 hex digits>-<bytes>   a block
//	<dir>/<2 hex digits>/*.tmp                     a block that is being written
//
// The digits are the 128-bit FNV-1a hash of the object's key and the block's position. So the names
// are the index: a start reads directories but no files. Nothing is synced. The caller knows a
// block's size and CRC32C. They reveal a block that a crash has torn, a disk has damaged or a hash
// collision has confused: it is a miss, and is removed.
//
// # What is kept
//
// A block is kept at its second use: when memory has used it twice (Put), or when it was read from
// the store for the second time within a while (Fetched). So a replay of a long history writes
// nothing, and evicts nothing. The least recently requested block is evicted first. A start does
// not know the order.
//
// # Invariants
//
//   - What Get returns has the requested size and checksum. (TestDamageIsAMiss)
//   - The blocks take no more than the bytes that the cache may have.
//     (TestCacheStaysWithinItsBytes)
//   - No caller waits for a disk: a full queue, an answer that is late and a disk that is full or
//     broken are misses. (TestSlowDiskIsAMiss, TestFullDiskIsLeftAlone)
//   - What is read once takes no room. (TestReplayTakesNoRoom)
package diskcache
