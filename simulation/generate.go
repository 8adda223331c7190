package simulation

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// generate draws the actions of a history from a seed: a topic or two, records all the time, and
// faults that occur one by one or several at once.
func generate(h History) []Action {
	g := &generator{s: newScheduler(h.Seed, stillClock{}), brokers: int64(h.Brokers), length: h.Length}
	g.topics()
	g.loads()
	if h.Bucket {
		g.stores()
	}
	g.faults()
	slices.SortStableFunc(g.actions, func(a, b Action) int { return int(a.At - b.At) })
	return g.actions
}

// stillClock is for a scheduler that only draws.
type stillClock struct{}

func (stillClock) Now() time.Time        { return time.Time{} }
func (stillClock) Advance(time.Duration) {}

type generator struct {
	s       *scheduler
	brokers int64
	length  time.Duration
	actions []Action
	names   []string
}

func (g *generator) n(most int64) int64 { return g.s.draw("actions", most) }

func (g *generator) add(at time.Duration, verb string, args ...any) {
	texts := make([]string, len(args))
	for i, arg := range args {
		switch arg := arg.(type) {
		case string:
			texts[i] = arg
		case int64:
			texts[i] = strconv.FormatInt(arg, 10)
		case time.Duration:
			texts[i] = arg.String()
		}
	}
	g.actions = append(g.actions, Action{At: at, Verb: verb, Args: texts})
}

// sometime returns a time within the history, in whole milliseconds: a short script is easier to
// read.
func (g *generator) sometime() time.Duration {
	return (2*time.Second + time.Duration(g.n(int64(g.length)))).Truncate(time.Millisecond)
}

func (g *generator) span(most time.Duration) time.Duration {
	return (10*time.Millisecond + time.Duration(g.n(int64(most)))).Truncate(time.Millisecond)
}

const partitionsOfATopic = 2

func (g *generator) topics() {
	for i := range 1 + g.n(2) {
		name := string(rune('a' + i))
		factor := min(g.brokers, 3-g.n(4)/3)
		g.names = append(g.names, name)
		g.add(0, "create", name, int64(partitionsOfATopic), factor, 1+g.n(factor))
	}
	if g.n(5) == 0 { // one topic is deleted, and another one may follow under its name
		name, at := g.names[0], g.sometime()
		g.add(at, "remove", name)
		g.add(at+g.span(5*time.Second), "create", name, int64(partitionsOfATopic), min(g.brokers, 3), int64(2))
	}
}

func (g *generator) topic() string { return g.names[g.n(int64(len(g.names)))] }

func (g *generator) partition() int64 { return g.n(partitionsOfATopic) }

func (g *generator) broker() int64 { return 1 + g.n(g.brokers) }

// loads adds what clients and administrators do.
func (g *generator) loads() {
	pause := []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond}[g.n(3)]
	for at := 2 * time.Second; at < g.length; at += g.span(2 * pause) {
		if g.n(4) == 0 {
			g.add(at, "produce", g.topic(), int64(0), int64(1))
		} else {
			g.add(at, "produce", g.topic(), g.partition())
		}
	}
	for range g.length / (2 * time.Second) {
		switch g.n(10) {
		case 0, 1, 2:
			g.add(g.sometime(), "elect", g.topic(), g.partition())
		case 3:
			g.add(g.sometime(), "minimum", g.topic(), 1+g.n(3))
		case 4, 5:
			g.add(g.sometime(), "reassign", g.topic(), g.partition(), g.some())
		case 6:
			g.add(g.sometime(), "cancel", g.topic(), g.partition())
		case 7:
			g.add(g.sometime(), "delete", g.topic(), g.partition(), g.n(101))
		default:
			g.add(g.sometime(), "read", g.topic(), g.partition(), g.n(101))
		}
	}
}

// some returns one to three brokers.
func (g *generator) some() string {
	var ids []string
	for range 1 + g.n(3) {
		if id := strconv.FormatInt(g.broker(), 10); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return strings.Join(ids, ",")
}

// faults adds as many faults as fit, of a few kinds: a history with all kinds shows little.
func (g *generator) faults() {
	kinds := []func(at time.Duration){
		g.kill, g.crash, g.stop, g.freeze, g.busy, g.cut, g.away,
		g.lossy, g.outage, g.skew, g.compact, g.lose, g.fail, g.mistake,
	}
	chosen := make([]func(at time.Duration), 1+g.n(4))
	for i := range chosen {
		chosen[i] = kinds[g.n(int64(len(kinds)))]
	}
	rate := time.Duration(1+g.n(8)) * time.Second
	for at := 3 * time.Second; at < g.length; at += g.span(2 * rate) {
		chosen[g.n(int64(len(chosen)))](at)
	}
}

// stores adds faults of the bucket, losses of the metadata about it, and disasters that leave the
// bucket as the only place with committed records.
func (g *generator) stores() {
	if g.n(3) == 0 {
		g.disaster(g.sometime())
	}
	for range g.n(4) {
		at := g.sometime()
		switch g.n(4) {
		case 0:
			g.add(at, "unstore", g.span(15*time.Second))
		case 1, 2:
			g.add(at, "flaky", 5+g.n(60), g.span(15*time.Second))
		default:
			topic, number := g.topic(), g.partition()
			g.add(at, "forget", topic, number)
			g.add(at+g.span(10*time.Second), "rebuild", topic, number)
		}
	}
}

// disaster makes all machines crash at once, or lose their disks.
func (g *generator) disaster(at time.Duration) {
	lose := g.n(2) == 0
	for id := range g.brokers {
		if lose {
			g.add(at, "lose", id+1, int64(0))
			g.add(at, "lose", id+1, int64(1))
		} else {
			g.add(at, "crash", id+1)
		}
		g.add(at+g.span(5*time.Second), "start", id+1)
	}
	for _, name := range g.names {
		for number := range int64(partitionsOfATopic) {
			g.add(at+10*time.Second+g.span(10*time.Second), "unclean", name, number)
		}
	}
}

func (g *generator) end(at time.Duration, verb string) {
	broker := g.broker()
	g.add(at, verb, broker)
	back := []time.Duration{200 * time.Millisecond, 5 * time.Second, 20 * time.Second}[g.n(3)]
	g.add(at+g.span(back), "start", broker)
}

func (g *generator) kill(at time.Duration)  { g.end(at, "kill") }
func (g *generator) crash(at time.Duration) { g.end(at, "crash") }
func (g *generator) stop(at time.Duration)  { g.add(at, "stop", g.broker()); g.restartAll(at) }

// restartAll starts the brokers again that have stopped.
func (g *generator) restartAll(at time.Duration) {
	for id := range g.brokers {
		g.add(at+g.span(15*time.Second), "start", id+1)
	}
}

func (g *generator) freeze(at time.Duration) {
	g.add(at, "freeze", g.broker(), g.span([]time.Duration{time.Second, 15 * time.Second}[g.n(2)]))
}

func (g *generator) busy(at time.Duration) { g.add(at, "busy", g.broker(), g.span(5*time.Second)) }

func (g *generator) cut(at time.Duration) {
	verb := []string{"cut", "mute"}[g.n(2)]
	g.add(at, verb, g.broker(), g.broker(), g.span(20*time.Second))
}

func (g *generator) away(at time.Duration) {
	if g.n(3) == 0 {
		// The broker's writes succeed, but it does not learn that.
		g.add(at, "mute", int64(etcdHost), g.broker(), g.span(10*time.Second))
		return
	}
	g.add(at, "cut", int64(etcdHost), g.broker(), g.span(10*time.Second))
}

func (g *generator) lossy(at time.Duration) {
	from, to := g.n(g.brokers+1), g.n(g.brokers+1)
	g.add(at, "lossy", from, to, 10+g.n(60), g.span(10*time.Second))
}

func (g *generator) outage(at time.Duration) { g.add(at, "outage", g.span(12*time.Second)) }

func (g *generator) skew(at time.Duration) {
	g.add(at, "skew", g.broker(), g.span(40*time.Second)-20*time.Second)
}

func (g *generator) compact(at time.Duration) { g.add(at, "compact") }

func (g *generator) lose(at time.Duration) {
	broker := g.broker()
	g.add(at, "lose", broker, g.n(2))
	g.add(at+g.span(5*time.Second), "start", broker)
}

func (g *generator) fail(at time.Duration) {
	broker := g.broker()
	g.add(at, "fail", broker, g.n(2))
	at += g.span(20 * time.Second)
	g.add(at, "kill", broker)
	g.add(at+g.span(time.Second), "start", broker)
}

// mistake uses a backup from some time before.
func (g *generator) mistake(at time.Duration) {
	g.add(max(at-g.span(30*time.Second), time.Second), "backup")
	g.add(at, "mistake", g.span(mistakeTime))
}
