// Package security owns what a broker shows to others and trusts in them: for now the material of TLS, which is PEM in files or in the settings.
//
// A [TLS] is the material of one use: a listener, HTTP, the control plane, a client. Its configurations look the material up at each handshake, so
// that files can be replaced while the process runs. A [Watcher] reads the files again every few seconds.
//
// What holds:
//   - A certificate, its key and the authorities of one use change together or not at all. What cannot be used changes nothing: the old material
//     stays, a warning names the file, and varve_tls_reload_failures_total counts it.
//   - Connections that are open go on with what they began with.
//   - No session is resumed: who is no longer trusted cannot come back with a ticket.
//   - Nothing older than TLS 1.2.
//
// The package knows nothing of settings' tables and listeners; the composition root tells it where the material is and by which name a message
// should call it.
package security
