//go:build !race

package tiering

const raceDetector = false
