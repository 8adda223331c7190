// Package integration runs the built binary with real parts: an S3 server, disks, kill -9, and
// Kafka clients. It holds only tests. The shell suites in clients/ run clients in other languages
// the same way. A broker that is to lose power is this package's test binary on a crashfs.
package integration
