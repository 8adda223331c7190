package config

import (
	_ "embed" // the list of names
	"strings"
)

//go:embed kafka_names.txt
var kafkaNames string

// namesOf returns the names below "# kind" in the list.
func namesOf(kind string) []string {
	var names []string
	section := ""
	for line := range strings.Lines(kafkaNames) {
		line = strings.TrimSpace(line)
		switch heading, isHeading := strings.CutPrefix(line, "# "); {
		case isHeading:
			section = heading
		case section == kind && line != "":
			names = append(names, line)
		}
	}
	return names
}
