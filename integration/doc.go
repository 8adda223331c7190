// Package integration runs the built binary with real parts: an S3 server,
// disks, kill -9, and Kafka clients. It has no code of its own outside tests;
// the shell suites in clients/ run other languages' clients the same way.
// Brokers that are to lose power are this package's test binary on a crashfs.
package integration
