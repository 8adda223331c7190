// Package containers tests Varve as it is deployed in containers, through testcontainers-go: three
// brokers from the image of the Dockerfile, and etcd, NATS and an S3 server, all on a network of
// their own, with clients on the host. It holds only tests.
//
// The images are built FROM scratch around static binaries, without a registry. A server for which
// there is no image that will stay free is built from its Go module in tools/. Ports are published
// only on 127.0.0.1.
//
// Without a Docker engine the tests are skipped and say so. Package integration runs the same
// checks, and many more, over plain processes.
//
// The package is a module of its own: testcontainers-go brings in the Docker client and some forty
// modules that the product's go.mod must not list.
package containers
