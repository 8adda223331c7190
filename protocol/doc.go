// Package protocol is the outside of Kafka's wire protocol: frames, request and response headers, error codes, and a check of a
// request's shape before anything is allocated for it. The bodies are encoded and decoded by kmsg; nothing here knows what a request
// does.
//
//	request  = size int32 · api key int16 · version int16 · correlation id int32 · client id nullable string [· tagged fields] · body
//	response = size int32 · correlation id int32 [· tagged fields] · body
//
// The tagged fields of the header are there when the version of the API is flexible (header v2, response header v1); the response
// to ApiVersions never has them, since a client reads it before both sides have agreed on anything.
//
// Invariants:
//
//   - P1. Memory follows bytes that have arrived, never bytes that were announced: a frame's buffer grows as it fills, and a body is
//     decoded only after [CheckBody] has walked it, so that an announced array length costs nothing until its elements are there.
//   - P2. All frames together stay below one budget; a frame waits for its share, and one that has its share must make progress.
//   - P3. No input panics, loops or hangs: every decoder here has a fuzz target.
package protocol
