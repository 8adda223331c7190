package config

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// Flags are the flags of a broker process, bound to a flag set.
type Flags struct {
	config string
	values map[string]*flagValue // by the setting's name
	set    flagValue
}

// BindBroker adds the flags of a broker process to a flag set.
func BindBroker(fs *pflag.FlagSet) *Flags {
	f := &Flags{values: map[string]*flagValue{}, set: flagValue{placeholder: "KEY=VALUE"}}
	fs.SortFlags = false
	fs.StringVar(&f.config, configSetting, "", "`FILE` of settings (YAML)")
	for _, s := range brokerSettings {
		v := &flagValue{placeholder: s.value, def: s.def, several: s.several}
		f.values[s.name] = v
		fs.Var(v, s.name, s.doc)
		if s.isSwitch {
			fs.Lookup(s.name).NoOptDefVal = "true"
		}
	}
	fs.Var(&f.set, setSetting, "broker configuration by Kafka's name; may be repeated")
	return f
}

// flagValue keeps the values that a flag was given.
type flagValue struct {
	placeholder, def string
	several          bool
	given            []string
}

var _ pflag.Value = (*flagValue)(nil)

// String returns the given value, or the default.
func (v *flagValue) String() string {
	if len(v.given) == 0 {
		return v.def
	}
	return v.text()
}

func (v *flagValue) text() string {
	if v.several {
		return strings.Join(v.given, ",")
	}
	return v.given[len(v.given)-1]
}

// Set adds one value.
func (v *flagValue) Set(text string) error {
	v.given = append(v.given, text)
	return nil
}

// Type returns the placeholder for the value in the help.
func (v *flagValue) Type() string { return v.placeholder }

// given is a value and where it was given, for messages.
type given struct{ text, where string }

// gathered are the values of one source or of several.
type gathered struct {
	settings map[string]given // by the setting's name
	set      map[string]given // by the configuration's name
}

func newGathered() gathered {
	return gathered{settings: map[string]given{}, set: map[string]given{}}
}

// Load combines the parsed flags, the environment ("NAME=value", as from os.Environ) and the file.
// A flag overrides the environment, the environment the file, the file the default; --set does so
// key by key. Load returns all problems at once, joined.
func (f *Flags) Load(environ []string) (Broker, error) {
	fromEnv, problems := gatherEnv(environ)
	fromFlags, errs := f.gather()
	problems = append(problems, errs...)

	path := fromEnv.settings[configSetting].text
	if f.config != "" {
		path = f.config
	}
	all := newGathered()
	if path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return Broker{}, fmt.Errorf("read the settings file: %w", err)
		}
		var fromFile gathered
		fromFile, errs = gatherYAML(path, data)
		all, problems = fromFile, append(problems, errs...)
	}
	for _, source := range []gathered{fromEnv, fromFlags} {
		maps.Copy(all.settings, source.settings)
		maps.Copy(all.set, source.set)
	}

	b := Broker{Set: map[string]string{}}
	for _, s := range brokerSettings {
		g, ok := all.settings[s.name]
		if !ok {
			g = given{s.def, "default of --" + s.name}
		}
		if err := s.apply(&b, g.text); err != nil {
			problems = append(problems, fmt.Errorf("%s %q: %w", g.where, redact(g.text), err))
		}
	}
	for key, g := range all.set {
		b.Set[key] = g.text
	}
	// Checks across settings need valid settings, but the broker configurations can be checked.
	if len(problems) > 0 {
		return Broker{}, errors.Join(append(problems, Layers{Static: b.Set}.ValidateStatic())...)
	}
	if err := finish(&b); err != nil {
		return Broker{}, err
	}
	return b, nil
}

// LoadFile returns the settings of a broker that gets only a file. It returns all problems at once,
// joined.
func LoadFile(path string) (Broker, error) {
	return (&Flags{config: path}).Load(nil)
}

func (f *Flags) gather() (gathered, []error) {
	g := newGathered()
	for name, v := range f.values {
		if len(v.given) > 0 {
			g.settings[name] = given{v.text(), "--" + name}
		}
	}
	return g, g.addSets(f.set.given, "--"+setSetting)
}

func (g gathered) addSets(pairs []string, where string) []error {
	var problems []error
	for _, pair := range pairs {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			problems = append(problems, fmt.Errorf("%s %q: must be KEY=VALUE", where, pair))
			continue
		}
		g.set[key] = given{value, where}
	}
	return problems
}

// gatherEnv reads VARVE_DATA_DIR and the like, VARVE_LOG_SEGMENT_BYTES and the like for broker
// configurations, and VARVE_SET with KEY=VALUE pairs separated by spaces. Container platforms add
// other names that begin with VARVE_. So gatherEnv rejects only names that differ little from a
// setting's.
func gatherEnv(environ []string) (gathered, []error) {
	g := newGathered()
	settings, keys := map[string]string{envName(configSetting): configSetting, envName(setSetting): setSetting}, map[string]string{}
	for _, s := range brokerSettings {
		settings[s.env()] = s.name
	}
	for _, k := range brokerTable.keys {
		if k.Setting == "" {
			keys[envName(k.Name)] = k.Name
		}
	}
	known := slices.Concat(slices.Collect(maps.Keys(settings)), slices.Collect(maps.Keys(keys)))
	slices.Sort(known)

	var problems []error
	single := map[string]given{} // VARVE_LOG_SEGMENT_BYTES overrides VARVE_SET
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		where := "environment variable " + name
		if setting, ok := settings[name]; ok && setting == setSetting {
			problems = append(problems, g.addSets(strings.Fields(value), where)...)
		} else if ok {
			g.settings[setting] = given{value, where}
		} else if key, ok := keys[name]; ok {
			single[key] = given{value, where}
		} else if near := nearest(name, known); strings.HasPrefix(name, "VARVE_") && near != "" && editDistance(name, near, 3) <= 2 {
			problems = append(problems, fmt.Errorf("%s is not a setting: did you mean %s?", where, near))
		}
	}
	maps.Copy(g.set, single)
	return g, problems
}
