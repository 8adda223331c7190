// Package vfs is the seam between the storage layer and the file system.
//
// It owns the interface [FS], the operating system's file system [OS], a file
// system in memory that can crash ([Mem]) and one that fails on demand
// ([Faulty]). Package vfstest holds the suite that every implementation passes.
// It knows nothing of logs, segments or brokers.
//
// What a caller may rely on, on every implementation:
//
//   - Names become durable by SyncDir of their directory and content by Sync of
//     the file; each needs the other to be found after a crash.
//   - A rename is atomic: after a crash the old name or the new one is there.
//   - A write that fails may have written a part.
//   - After a failed Sync of a file nobody knows what of it is durable, also not
//     when the next Sync succeeds.
//   - A removed or renamed file that is open can be used through its File until
//     that is closed.
//   - Reads and writes of one File by several goroutines are fine; overlapping
//     ranges give some mixture of old and new bytes.
package vfs
