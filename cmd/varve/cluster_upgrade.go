package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/client"
)

func newClusterUpgradeCommand(a *app) *cobra.Command {
	var dryRun, yes bool
	cmd := &cobra.Command{
		Use: "upgrade", Short: "Let the brokers use what their new version brings", Args: takes(0, 0, "no arguments"),
		Long: "Raise the feature levels of the cluster to the highest that all brokers support.\n\n" +
			"Brokers of two versions work together at the level of the older one. Once all run the new version, and it has proved itself, this\n" +
			"command lets them use its formats. An older broker cannot join any more then. Brokers that are down count until they are\n" +
			"unregistered.",
		Example: "  varve cluster upgrade --dry-run\n  varve cluster upgrade --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				return upgradeCluster(ctx, a, c, dryRun, yes)
			}, freshMetadata)
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be raised, let the cluster check it, and change nothing")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask before the change")
	return cmd
}

func upgradeCluster(ctx context.Context, a *app, c *client.Client, dryRun, yes bool) error {
	levels, err := c.FeatureLevels(ctx)
	if err != nil {
		return err
	}
	supported, err := c.SupportedFeatures(ctx)
	if err != nil {
		return err
	}
	plan := upgradePlan(levels, supported)
	raised := raisedBy(plan)
	if len(raised) > 0 {
		if err = c.Upgrade(ctx, raised, true); err != nil {
			return err // before the question
		}
		if !dryRun {
			if err = showUpgrade(a, plan, yes); err != nil {
				return err
			}
			if err = c.Upgrade(ctx, raised, false); err != nil {
				return err
			}
		}
	}
	return a.printUpgrade(plan, len(raised) > 0 && !dryRun)
}

// showUpgrade shows the plan before the question.
func showUpgrade(a *app, plan []featureUpgrade, yes bool) error {
	if !yes {
		for _, f := range plan {
			if _, err := fmt.Fprintf(a.errOut, "%s: level %d becomes %d\n", f.Feature, f.Level, f.NewLevel); err != nil {
				return err
			}
		}
	}
	return a.confirm("Raise the levels? Brokers of older versions cannot join afterwards.", yes)
}

// featureUpgrade is the change of one feature. The JSON names are a contract with scripts.
type featureUpgrade struct {
	Feature  string `json:"feature"`
	Level    int16  `json:"level"`
	NewLevel int16  `json:"new_level"`
	// HeldBackBy are brokers that support less than others do.
	HeldBackBy []int32 `json:"held_back_by"`
}

// upgradePlan raises every feature to the highest level that all brokers support. No level is
// lowered.
func upgradePlan(levels map[string]int16, supported map[int32]map[string]int16) []featureUpgrade {
	highest := maps.Clone(levels)
	for _, features := range supported {
		for name, level := range features {
			highest[name] = max(highest[name], level)
		}
	}
	plan := make([]featureUpgrade, 0, len(highest))
	for _, name := range slices.Sorted(maps.Keys(highest)) {
		f := featureUpgrade{Feature: name, Level: levels[name], NewLevel: highest[name], HeldBackBy: []int32{}}
		for id, features := range supported {
			f.NewLevel = min(f.NewLevel, features[name])
			if features[name] < highest[name] {
				f.HeldBackBy = append(f.HeldBackBy, id)
			}
		}
		slices.SortFunc(f.HeldBackBy, cmp.Compare[int32])
		f.NewLevel = max(f.NewLevel, f.Level)
		plan = append(plan, f)
	}
	return plan
}

// raisedBy returns the new levels of the features that a plan raises.
func raisedBy(plan []featureUpgrade) map[string]int16 {
	raised := map[string]int16{}
	for _, f := range plan {
		if f.NewLevel > f.Level {
			raised[f.Feature] = f.NewLevel
		}
	}
	return raised
}

func (a *app) printUpgrade(plan []featureUpgrade, done bool) error {
	if a.json() {
		return a.printJSON(map[string]any{"features": plan, "upgraded": done})
	}
	rows := make([][]string, len(plan))
	for i, f := range plan {
		rows[i] = []string{f.Feature, strconv.Itoa(int(f.Level)), strconv.Itoa(int(f.NewLevel)), orAbsent(int32s(f.HeldBackBy))}
	}
	if err := a.printTable([]string{"FEATURE", "LEVEL", "NEW LEVEL", "HELD BACK BY"}, rows); err != nil {
		return err
	}
	text := "nothing was changed"
	switch {
	case done:
		text = "the cluster is upgraded"
	case len(raisedBy(plan)) == 0:
		text = "nothing to raise: every feature is at the highest level that all brokers support"
	}
	_, err := fmt.Fprintf(a.out, "\n%s\n", text)
	return err
}
