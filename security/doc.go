// Package security owns the credentials that a broker presents and trusts: for now TLS material,
// which is PEM in files or in the settings.
//
// A [TLS] is the material of one use: a listener, HTTP, the control plane, a client. A server's
// configuration looks the material up at each handshake, and a client's is made for each
// connection, so that files can be replaced while the process runs. A [Watcher] reads the files
// again every few seconds.
//
// What holds:
//   - A certificate, its key and the authorities of one use change together or not at all. Unusable
//     files change nothing: the old material stays, a warning names the file, and
//     varve_tls_reload_failures_total counts it.
//   - Open connections keep the material that they began with.
//   - No session is resumed: a client that is no longer trusted cannot return with a ticket.
//   - Nothing older than TLS 1.2.
//
// The package knows nothing of tables of settings or of listeners. The composition root passes the
// locations of the material and the names for messages.
package security
