// Package protocol is the outer layer of Kafka's wire protocol: frames, request and response
// headers, error codes, and a check of a request's shape before anything is allocated for it. kmsg
// encodes and decodes the bodies. This package must not know what a request does.
//
//	request  = size int32 · api key int16 · version int16 · correlation id int32
//	           · client id nullable string [· tagged fields] · body
//	response = size int32 · correlation id int32 [· tagged fields] · body
//
// A header has tagged fields if the version of the API is flexible (request header v2, response
// header v1). The response to ApiVersions never has them, because a client reads it before both
// sides have agreed on a version.
//
// Invariants:
//
//   - P1. Memory follows bytes that have arrived, never bytes that were announced. A frame's buffer
//     grows as it fills, and a body is decoded only after [CheckBody] has walked it. An announced
//     array length thus costs nothing until its elements have arrived.
//   - P2. All frames together stay below one budget. A frame waits for its share, and a frame that
//     holds its share must make progress.
//   - P3. No input panics, loops or hangs: every decoder here has a fuzz target.
package protocol
