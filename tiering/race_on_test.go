//go:build race

package tiering

const raceDetector = true
