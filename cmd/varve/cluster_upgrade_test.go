package main

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestUpgradePlan(t *testing.T) {
	type levels = map[string]int16
	for name, c := range map[string]struct {
		levels    levels
		supported map[int32]levels
		want      []featureUpgrade
	}{
		"all are new": {
			levels{"v": 1},
			map[int32]levels{1: {"v": 2}, 2: {"v": 2}},
			[]featureUpgrade{{"v", 1, 2, []int32{}}},
		},
		"one is old": {
			levels{"v": 1},
			map[int32]levels{1: {"v": 3}, 2: {"v": 2}, 3: {"v": 3}},
			[]featureUpgrade{{"v", 1, 2, []int32{2}}},
		},
		"two know nothing of it": {
			levels{"v": 1},
			map[int32]levels{3: {"v": 1}, 2: {"v": 1}, 1: {"v": 1, "w": 1}},
			[]featureUpgrade{{"v", 1, 1, []int32{}}, {"w", 0, 0, []int32{2, 3}}},
		},
		"a new feature": {
			levels{"v": 1},
			map[int32]levels{1: {"v": 1, "w": 2}},
			[]featureUpgrade{{"v", 1, 1, []int32{}}, {"w", 0, 2, []int32{}}},
		},
		"nothing is lowered": {
			levels{"v": 4},
			map[int32]levels{1: {"v": 3}},
			[]featureUpgrade{{"v", 4, 4, []int32{1}}},
		},
	} {
		if got := upgradePlan(c.levels, c.supported); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestUpgradeIsShown(t *testing.T) {
	plan := []featureUpgrade{{"varve.version", 1, 2, []int32{}}, {"group.version", 0, 0, []int32{2, 3}}}
	for _, c := range []struct {
		plan []featureUpgrade
		done bool
		want string
	}{
		{plan, true, "the cluster is upgraded"},
		{plan, false, "nothing was changed"},
		{plan[1:], false, "nothing to raise: every feature is at the highest level that all brokers support"},
	} {
		a, out := testApp("table")
		if err := a.printUpgrade(c.plan, c.done); err != nil {
			t.Fatal(err)
		}
		want := "FEATURE        LEVEL  NEW LEVEL  HELD BACK BY\nvarve.version  1      2          -\ngroup.version  0      0          2,3\n\n"
		if len(c.plan) == 1 {
			want = "FEATURE        LEVEL  NEW LEVEL  HELD BACK BY\ngroup.version  0      0          2,3\n\n"
		}
		if got := out.String(); got != want+c.want+"\n" {
			t.Errorf("got %s\nwant %s", got, want+c.want)
		}
	}
	a, out := testApp("json")
	if err := a.printUpgrade(plan[:1], true); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Features []featureUpgrade `json:"features"`
		Upgraded bool             `json:"upgraded"`
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil || !got.Upgraded || !reflect.DeepEqual(got.Features, plan[:1]) {
		t.Errorf("%s, %v", out, err)
	}
}
