// Package crashfs is a kit for tests of whole brokers: a file system that notes
// what was made durable, so that a loss of power can be played after the
// process was killed, and that fails below a directory on demand.
//
// A process killed with SIGKILL loses nothing that it has written, because the
// system has it. [FS], which the process writes through, keeps a journal beside
// the data; [LosePower], called by the test when the process is gone, takes back
// by that journal what no Sync and no SyncDir has made durable:
//
//   - A file is cut to the length that it had at its last Sync. One that was
//     cut before that is not made longer again.
//   - Names that were made, renamed or removed are put back to what they were
//     at the last SyncDir of their directory. Replaced and removed files are
//     kept for that.
//
// Its limits: bytes overwritten within the durable length stay. All that is not
// durable is lost, never a part of it. Files that are written by other means,
// as those of etcd are, lose nothing.
//
// The journal outlives processes, since one that was killed may be started
// again before the power is lost. The kit knows nothing of logs or brokers.
package crashfs
