// Package crashfs is a kit for tests of whole brokers: a file system that records what was made
// durable, so that a test can simulate a loss of power after it has killed the process. It can also
// make all operations below a directory fail.
//
// A process killed with SIGKILL loses nothing that it has written, because the operating system has
// it. [FS], through which the process writes, keeps a journal next to the data. After the process
// has ended the test calls [LosePower], which uses the journal to undo everything that no Sync and
// no SyncDir has made durable:
//
//   - A file is cut to its length at its latest Sync. If it was truncated after that, it is not
//     extended again.
//   - Names that were created, renamed or removed are restored to those of the latest SyncDir of
//     their directory. Replaced and removed files are kept for that.
//
// Its limits: overwritten bytes within the durable length keep their new content. Everything that
// is not durable is lost, never a part of it. Files that are not written through an FS, such as
// those of etcd, lose nothing.
//
// The journal outlives its process, because a killed process may be restarted before the power is
// lost. The kit must not know of logs or brokers.
package crashfs
