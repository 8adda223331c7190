// Package containers tests Varve as it is deployed in containers, through
// testcontainers-go: three brokers from the image of the Dockerfile, etcd, NATS
// and an S3 server on a network of their own, clients on the host. It holds
// nothing but tests.
//
// The images are built from static binaries, FROM scratch, and without a
// registry: what has no container image elsewhere that stays free is built from
// its Go module in tools/. Ports are published on 127.0.0.1 only.
//
// Where no Docker engine answers the tests are skipped and say so; the same
// checks, and many more, run over plain processes in package integration.
//
// The package is a module of its own: testcontainers-go brings the Docker client
// and some forty modules that the product must not carry in its go.mod.
package containers
