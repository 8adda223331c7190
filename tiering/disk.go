package tiering

import (
	"context"

	"github.com/varvelog/varve/tiering/format"
)

// DiskCache keeps chunks on a local disk, for a time when memory has not got them any more:
// diskcache.Cache is one. It never has its callers wait for a disk that is slow, full or broken.
type DiskCache interface {
	// Get returns the content of a block, in memory that is the caller's; nil: it has not got it.
	Get(ctx context.Context, object string, at int64, size int, crc32c uint32) []byte
	// Fetched says that a block was read from the object store, for which Put's word holds. It is kept
	// if it is likely to be used again.
	Fetched(object string, at int64, content []byte)
	// Put has a block kept that is likely to be used again. It does not wait, and may forget it. The
	// content is not changed by anybody.
	Put(object string, at int64, content []byte)
}

// fromDisk is a chunk that the disk cache has; nil: it has not.
func (m *Manager) fromDisk(ctx context.Context, key chunkKey, c *format.Chunk) []byte {
	if m.o.Disk == nil {
		return nil
	}
	return m.o.Disk.Get(ctx, key.object, key.at, c.StoredBytes, c.CRC32C)
}

// fetched tells the disk cache of a chunk that was read from the object store; nil: it could not be.
func (m *Manager) fetched(key chunkKey, content []byte) {
	if m.o.Disk != nil && content != nil {
		m.o.Disk.Fetched(key.object, key.at, content)
	}
}

// toDisk has the disk cache keep a chunk that is used again.
func (m *Manager) toDisk(key chunkKey, content []byte) {
	if m.o.Disk != nil {
		m.o.Disk.Put(key.object, key.at, content)
	}
}
