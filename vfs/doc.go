// Package vfs is the seam between the storage layer and the file system.
//
// It owns the interface [FS], the operating system's file system [OS], a file system in memory that
// can crash ([Mem]) and one that fails on demand ([Faulty]). Package vfstest holds the suite that
// every implementation passes. Package vfs must not know of logs, segments or brokers.
//
// A caller may rely on these properties of every implementation:
//
//   - SyncDir of a directory makes its names durable, and Sync of a file its content. A file is
//     found whole after a crash only if both succeeded.
//   - A rename is atomic: after a crash either the old name or the new one exists.
//   - A write that fails may have written a part.
//   - After a failed Sync of a file, it is unknown how much of its content is durable. A later Sync
//     that succeeds does not change that.
//   - A removed or renamed file stays usable through an open File until that is closed.
//   - Several goroutines may read and write one File at a time. Where their ranges overlap, the
//     result is some mixture of old and new bytes.
package vfs
