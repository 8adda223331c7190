package tiering

import (
	"context"

	"github.com/varvelog/varve/tiering/format"
)

// DiskCache keeps chunks on a local disk after memory has evicted them: diskcache.Cache is one. Its
// callers never wait for a disk that is slow, full or broken.
type DiskCache interface {
	// Get returns the content of a block, in memory that the caller owns, or nil if the cache
	// does not have it.
	Get(ctx context.Context, object string, at int64, size int, crc32c uint32) []byte
	// Fetched records that a block was read from the object store. It is kept if it is likely to be
	// used again. Like Put, it does not wait, and the content must not change afterwards.
	Fetched(object string, at int64, content []byte)
	// Put keeps a block that is likely to be used again. It does not wait, and may drop the block.
	// The content must not change afterwards.
	Put(object string, at int64, content []byte)
}

// fromDisk returns a chunk from the disk cache, nil if it does not have the chunk.
func (m *Manager) fromDisk(ctx context.Context, key chunkKey, c *format.Chunk) []byte {
	if m.o.Disk == nil {
		return nil
	}
	return m.o.Disk.Get(ctx, key.object, key.at, c.StoredBytes, c.CRC32C)
}

// fetched informs the disk cache of a chunk that was read from the object store, unless it is nil.
func (m *Manager) fetched(key chunkKey, content []byte) {
	if m.o.Disk != nil && content != nil {
		m.o.Disk.Fetched(key.object, key.at, content)
	}
}

// toDisk lets the disk cache keep a chunk that was used again.
func (m *Manager) toDisk(key chunkKey, content []byte) {
	if m.o.Disk != nil {
		m.o.Disk.Put(key.object, key.at, content)
	}
}
