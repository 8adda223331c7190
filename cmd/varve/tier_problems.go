package main

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/varvelog/varve/client"
)

// tierProblemRow is a problem of a partition's remote tier as JSON.
type tierProblemRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Broker    int32  `json:"broker"`
	// damage, undeletable, attach, upload, expire, sweep, delete; of the bucket: orphans, suspect
	Kind   string `json:"kind"`
	Object string `json:"object,omitempty"`
	Count  int    `json:"count"`
	Since  int64  `json:"since_ms"`
	Text   string `json:"text"`
}

func tierProblemRows(problems []client.TierProblem) []tierProblemRow {
	rows := make([]tierProblemRow, len(problems))
	for i, p := range problems {
		rows[i] = tierProblemRow(p)
	}
	return rows
}

// printTierProblems prints the problems as a table, after an empty line.
func (a *app) printTierProblems(problems []tierProblemRow) error {
	if len(problems) == 0 {
		return nil
	}
	if _, err := a.out.Write([]byte("\n")); err != nil {
		return err
	}
	rows := make([][]string, len(problems))
	for i, p := range problems {
		object := orAbsent(p.Object)
		if p.Count > 1 {
			object += " and " + strconv.Itoa(p.Count-1) + " more"
		}
		about := absent // the bucket as a whole
		if p.Topic != "" {
			about = client.TopicPartition{Topic: p.Topic, Partition: p.Partition}.String()
		}
		rows[i] = []string{
			about, strconv.Itoa(int(p.Broker)), p.Kind, instant(p.Since), object,
			strings.ReplaceAll(p.Text, "\n", "; "),
		}
	}
	return a.printTable([]string{"PARTITION", "BROKER", "REMOTE TIER", "SINCE", "OBJECT", "WHY"}, rows)
}

// tierProblemAge is how old a problem must be for the cluster's status: temporary ones end sooner.
// Damage is shown at once.
const tierProblemAge = time.Minute

// lasting returns the problems that need attention.
func lasting(problems []client.TierProblem, now time.Time) []client.TierProblem {
	return slices.DeleteFunc(slices.Clone(problems), func(p client.TierProblem) bool {
		return p.Kind != kindDamage && now.Sub(time.UnixMilli(p.Since)) < tierProblemAge
	})
}

const kindDamage = "damage"

// degrades reports whether a problem keeps data from being read, uploaded or expired, or is about a
// topic that the metadata may have lost. Objects that cannot be deleted, or belong to no topic,
// only cost money.
func degrades(p client.TierProblem) bool {
	return slices.Contains([]string{kindDamage, "attach", "upload", "expire", "suspect"}, p.Kind)
}
