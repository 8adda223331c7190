package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/client"
)

// freshMetadata keeps kgo from answering with cached metadata: these commands poll.
var freshMetadata = kgo.MetadataMinAge(50 * time.Millisecond)

// problemsShown is how many partitions `varve cluster status` lists without --all.
const problemsShown = 20

func newClusterCommand(a *app) *cobra.Command {
	var all bool
	status := &cobra.Command{
		Use: "status", Short: "Show brokers and what is wrong with partitions", Args: takes(0, 0, "no arguments"),
		Long: "Show the brokers, what each has, the partitions that lack replicas, the worst first, and what is wrong with remote tiers.\n\n" +
			"The state is healthy; degraded when partitions lack replicas and still take writes, or when a part of a remote tier cannot be\n" +
			"read, or has not been uploaded or expired for a minute; unhealthy when some have no leader, or\n" +
			"fewer replicas in sync than min.insync.replicas (of a topic with fewer replicas: than these), or a leader that was elected uncleanly.\n" +
			"A partition without a leader waits for the brokers that may have everything; if it waits for nobody, only an unclean election helps.\n\n" +
			"Exit status: 0 when healthy or degraded, " + strconv.Itoa(exitUnhealthy) + " when unhealthy, 1 when it cannot be told.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.with(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				s, err := readClusterStatus(ctx, c)
				if err != nil {
					return err
				}
				if err = a.printClusterStatus(s, all); err != nil {
					return err
				}
				return s.err()
			}, freshMetadata)
		},
	}
	status.Flags().BoolVar(&all, "all", false, fmt.Sprintf("list all partitions with a problem, not only %d", problemsShown))
	return group("cluster", "How the cluster is, and who belongs to it", status, newClusterUpgradeCommand(a), newClusterUnregisterCommand(a))
}

// readClusterStatus reads everything that the status is made of.
func readClusterStatus(ctx context.Context, c *client.Client) (clusterStatus, error) {
	cluster, err := c.Cluster(ctx)
	if err != nil {
		return clusterStatus{}, err
	}
	topics, err := c.Topics(ctx)
	if err != nil {
		return clusterStatus{}, err
	}
	names := make([]string, len(topics))
	for i, t := range topics {
		names[i] = t.Name
	}
	if err = c.Elections(ctx, topics); err != nil {
		return clusterStatus{}, err
	}
	settings, err := c.TopicSetting(ctx, "min.insync.replicas", names...)
	if err != nil {
		return clusterStatus{}, err
	}
	minISR := make(map[string]int, len(settings))
	for topic, value := range settings {
		if minISR[topic], err = strconv.Atoi(value); err != nil {
			return clusterStatus{}, fmt.Errorf("topic %s: min.insync.replicas is %q", topic, value)
		}
	}
	reassignments, err := c.Reassignments(ctx)
	if err != nil {
		return clusterStatus{}, err
	}
	s := newClusterStatus(cluster, topics, minISR, reassignments)
	if s.Features, err = c.FeatureLevels(ctx); err != nil {
		return s, err
	}
	tier, err := c.TierProblems(ctx)
	if err != nil {
		return clusterStatus{}, err
	}
	s.addTier(lasting(tier, time.Now()))
	return s, nil
}

// addTier adds the problems of remote tiers. None of them keeps a partition from being written.
func (s *clusterStatus) addTier(problems []client.TierProblem) {
	s.Tier = tierProblemRows(problems)
	if s.State == "healthy" && slices.ContainsFunc(problems, degrades) {
		s.State = "degraded"
	}
}

// printClusterStatus prints the brokers, the sums, and the partitions with problems: the worst, or
// all.
func (a *app) printClusterStatus(s clusterStatus, all bool) error {
	if len(s.Problems) > problemsShown && !all {
		s.Omitted = len(s.Problems) - problemsShown
		s.Problems = s.Problems[:problemsShown]
	}
	if len(s.Tier) > problemsShown && !all {
		s.TierOmitted = len(s.Tier) - problemsShown
		s.Tier = s.Tier[:problemsShown]
	}
	if a.json() {
		return a.printJSON(s)
	}
	if _, err := fmt.Fprintf(a.out, "cluster %s  controller %s%s  %s\n\n", s.ClusterID, number(int64(s.Controller)), s.levels(), s.State); err != nil {
		return err
	}
	rows := make([][]string, len(s.Brokers))
	for i, b := range s.Brokers {
		rows[i] = []string{
			strconv.Itoa(int(b.ID)), b.State, orAbsent(b.Rack), orAbsent(b.Address),
			strconv.Itoa(b.Replicas), strconv.Itoa(b.Leaders), strconv.Itoa(b.PreferredLeaders),
		}
	}
	if err := a.printTable([]string{"BROKER", "STATE", "RACK", "ADDRESS", "REPLICAS", "LEADERS", "PREFERRED"}, rows); err != nil {
		return err
	}
	p := s.Partitions
	if _, err := fmt.Fprintln(a.out); err != nil {
		return err
	}
	err := a.printTable([]string{"PARTITIONS", "UNDER-REPLICATED", "BELOW MIN ISR", "OFFLINE", "UNCLEAN", "REASSIGNING"}, [][]string{{
		strconv.Itoa(p.Total), strconv.Itoa(p.UnderReplicated), strconv.Itoa(p.BelowMinISR), strconv.Itoa(p.Offline), strconv.Itoa(p.Unclean), strconv.Itoa(p.Reassigning),
	}})
	if err != nil {
		return err
	}
	if err = a.printProblems(s); err != nil {
		return err
	}
	if err = a.printTierProblems(s.Tier); err != nil {
		return err
	}
	return a.printOmitted(s.TierOmitted)
}

func (a *app) printProblems(s clusterStatus) error {
	if len(s.Problems) == 0 {
		return nil
	}
	rows := make([][]string, len(s.Problems))
	for i, p := range s.Problems {
		rows[i] = []string{
			client.TopicPartition{Topic: p.Topic, Partition: p.Partition}.String(), p.State, number(int64(p.Leader)),
			int32s(p.Replicas), orAbsent(int32s(p.ISR)), orAbsent(int32s(p.Missing)), strconv.Itoa(p.MinISR), p.waits(),
		}
	}
	if _, err := fmt.Fprintln(a.out); err != nil {
		return err
	}
	if err := a.printTable([]string{"PARTITION", "STATE", "LEADER", "REPLICAS", "ISR", "MISSING", "MIN ISR", "WAITS FOR"}, rows); err != nil {
		return err
	}
	return a.printOmitted(s.Omitted)
}

func (a *app) printOmitted(n int) error {
	if n == 0 {
		return nil
	}
	_, err := fmt.Fprintf(a.out, "and %d more; --all lists them\n", n)
	return err
}

func orAbsent(s string) string {
	if s == "" {
		return absent
	}
	return s
}

// levels returns the cluster's features, each after two spaces.
func (s *clusterStatus) levels() string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.Features)) {
		fmt.Fprintf(&text, "  %s %d", name, s.Features[name])
	}
	return text.String()
}

// clusterStatus is the state of a cluster. The JSON names are a contract with scripts.
type clusterStatus struct {
	ClusterID  string             `json:"cluster_id"`
	Controller int32              `json:"controller"` // -1: none
	State      string             `json:"state"`      // healthy, degraded, unhealthy
	Features   map[string]int16   `json:"features"`   // the finalized levels
	Brokers    []brokerStatus     `json:"brokers"`
	Partitions partitionSums      `json:"partitions"`
	Problems   []partitionProblem `json:"problems"` // the worst first
	Omitted    int                `json:"problems_omitted"`

	Tier        []tierProblemRow `json:"tier_problems"` // problems that need attention
	TierOmitted int              `json:"tier_problems_omitted"`
}

type brokerStatus struct {
	ID               int32  `json:"id"`
	State            string `json:"state"` // alive, down
	Rack             string `json:"rack,omitempty"`
	Address          string `json:"address,omitempty"`
	Replicas         int    `json:"replicas"`
	Leaders          int    `json:"leaders"`
	PreferredLeaders int    `json:"preferred_leaders"`
}

// partitionSums counts partitions. A worse state counts in the less bad ones too.
type partitionSums struct {
	Total           int `json:"total"`
	UnderReplicated int `json:"under_replicated"`
	BelowMinISR     int `json:"below_min_isr"`
	Offline         int `json:"offline"`
	Unclean         int `json:"unclean"` // the leader was elected uncleanly
	Reassigning     int `json:"reassigning"`
}

type partitionProblem struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	State     string  `json:"state"` // offline, unclean, below-min-isr, under-replicated
	Leader    int32   `json:"leader"`
	Replicas  []int32 `json:"replicas"`
	ISR       []int32 `json:"isr"`
	Missing   []int32 `json:"missing"`
	MinISR    int     `json:"min_isr"`
	// WaitsFor are the brokers that a partition without a leader waits for.
	WaitsFor []int32 `json:"waits_for"`
	severity int
	// The first: fewer replicas are in sync than MinISR. The second: fewer are in sync than there
	// are replicas that are not being added.
	tooFew, lacks bool
}

// waits returns the brokers that a partition without a leader waits for, as text.
func (p *partitionProblem) waits() string {
	switch {
	case p.severity != offlinePartition:
		return absent
	case len(p.WaitsFor) == 0:
		return "nobody"
	}
	return int32s(p.WaitsFor)
}

// The states of a partition, by severity.
const (
	underReplicated = iota + 1
	belowMinISR
	uncleanLeader
	offlinePartition
)

var severityNames = map[int]string{underReplicated: "under-replicated", belowMinISR: "below-min-isr", uncleanLeader: "unclean", offlinePartition: "offline"}

// newClusterStatus is a pure function of the cluster's metadata. A fenced broker is down, and so is
// a broker that has replicas and is missing in the list.
func newClusterStatus(cluster client.Cluster, topics []client.Topic, minISR map[string]int, reassignments []client.Reassignment) clusterStatus {
	s := clusterStatus{ClusterID: cluster.ID, Controller: cluster.Controller, Brokers: []brokerStatus{}, Problems: []partitionProblem{}, Tier: []tierProblemRow{}}
	brokers := map[int32]*brokerStatus{}
	for _, b := range cluster.Brokers {
		state := "alive"
		if b.Fenced {
			state = "down"
		}
		brokers[b.ID] = &brokerStatus{ID: b.ID, State: state, Rack: b.Rack, Address: b.Address}
	}
	broker := func(id int32) *brokerStatus {
		if brokers[id] == nil {
			brokers[id] = &brokerStatus{ID: id, State: "down"}
		}
		return brokers[id]
	}
	adding := map[client.TopicPartition][]int32{}
	for _, r := range reassignments {
		adding[r.TopicPartition] = r.Adding
	}
	s.Partitions.Reassigning = len(reassignments)
	for _, t := range topics {
		for _, p := range t.Partitions {
			for i, id := range p.Replicas {
				broker(id).Replicas++
				if i == 0 {
					broker(id).PreferredLeaders++
				}
			}
			if p.Leader >= 0 {
				broker(p.Leader).Leaders++
			}
			s.count(problemOf(t.Name, p, minISR[t.Name], adding[client.TopicPartition{Topic: t.Name, Partition: p.ID}]))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(brokers)) {
		s.Brokers = append(s.Brokers, *brokers[id])
	}
	slices.SortStableFunc(s.Problems, func(a, b partitionProblem) int {
		if a.severity != b.severity {
			return b.severity - a.severity
		}
		return (len(a.ISR) - a.MinISR) - (len(b.ISR) - b.MinISR)
	})
	switch {
	case s.Partitions.Offline+s.Partitions.BelowMinISR+s.Partitions.Unclean > 0:
		s.State = "unhealthy"
	case s.Partitions.UnderReplicated > 0:
		s.State = "degraded"
	default:
		s.State = "healthy"
	}
	return s
}

// problemOf returns the problem of a partition; severity 0 means none. Replicas that are being
// added do not count as missing.
func problemOf(topic string, p client.Partition, minISR int, adding []int32) partitionProblem {
	lives := func(id int32) bool { return slices.Contains(p.ISR, id) && !slices.Contains(p.Offline, id) }
	inSync, wanted := 0, 0
	missing := []int32{}
	for _, id := range p.Replicas {
		isNew := slices.Contains(adding, id)
		switch {
		case lives(id):
			inSync++
		case !isNew:
			missing = append(missing, id)
		}
		if !isNew {
			wanted++
		}
	}
	problem := partitionProblem{
		Topic: topic, Partition: p.ID, Leader: p.Leader, Replicas: p.Replicas, ISR: p.ISR, Missing: missing, MinISR: min(minISR, len(p.Replicas)),
		WaitsFor: append([]int32{}, p.Awaited...), tooFew: inSync < min(minISR, len(p.Replicas)), lacks: inSync < wanted,
	}
	switch {
	case p.Leader < 0:
		problem.severity = offlinePartition
	case p.UncleanEpoch != 0 && p.UncleanEpoch == p.LeaderEpoch:
		problem.severity = uncleanLeader
	case problem.tooFew:
		problem.severity = belowMinISR
	case problem.lacks:
		problem.severity = underReplicated
	}
	problem.State = severityNames[problem.severity]
	return problem
}

// count adds a partition to the sums.
func (s *clusterStatus) count(p partitionProblem) {
	s.Partitions.Total++
	if p.severity == 0 {
		return
	}
	s.Problems = append(s.Problems, p)
	offline := p.severity == offlinePartition
	if offline || p.lacks || p.tooFew {
		s.Partitions.UnderReplicated++
	}
	if offline || p.tooFew {
		s.Partitions.BelowMinISR++
	}
	if offline {
		s.Partitions.Offline++
	}
	if p.severity == uncleanLeader {
		s.Partitions.Unclean++
	}
}

// err turns an unhealthy status into an error, so that scripts see it in the exit status.
func (s *clusterStatus) err() error {
	if s.State != "unhealthy" {
		return nil
	}
	var what []string
	if n := s.Partitions.Offline; n > 0 {
		what = append(what, plural(int64(n), "partition")+" without a leader")
	}
	if n := s.Partitions.BelowMinISR - s.Partitions.Offline; n > 0 {
		what = append(what, plural(int64(n), "partition")+" below min.insync.replicas")
	}
	if n := s.Partitions.Unclean; n > 0 {
		what = append(what, plural(int64(n), "partition")+" with a leader that was elected uncleanly")
	}
	return &statusError{status: exitUnhealthy, text: "unhealthy: " + strings.Join(what, ", ")}
}
