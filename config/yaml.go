package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"gopkg.in/yaml.v3"
)

// gatherYAML reads a settings file: a mapping of the settings' names, with a mapping of broker
// configurations under "set".
//
//	data-dir: /var/lib/varve
//	etcd: [http://10.0.0.1:2379, http://10.0.0.2:2379]
//	set:
//	  log.segment.bytes: 268435456
func gatherYAML(path string, data []byte) (gathered, []error) {
	g := newGathered()
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return g, nil // an empty file
	case err != nil:
		return g, []error{fmt.Errorf("read the settings file %s: %w", path, err)}
	}
	var names []string
	for _, s := range brokerSettings {
		names = append(names, s.name)
	}
	names = append(names, setSetting)

	var problems []error
	refuse := func(n *yaml.Node, err error) { problems = append(problems, fmt.Errorf("%s:%d: %w", path, n.Line, err)) }
	at := func(n *yaml.Node, name string) string { return fmt.Sprintf("%s:%d: %s", path, n.Line, name) }
	eachPair(document.Content[0], refuse, func(key, value *yaml.Node) {
		several, known := settingKind(key.Value)
		switch {
		case key.Value == setSetting:
			eachPair(value, refuse, func(k, v *yaml.Node) {
				text, err := scalarText(v, true)
				if err != nil {
					refuse(v, fmt.Errorf("%s: %w", k.Value, err))
					return
				}
				g.set[k.Value] = given{text, at(k, k.Value)}
			})
		case !known && strings.Contains(key.Value, "."):
			refuse(key, fmt.Errorf("%w: %s: broker configurations stand under \"set\"", ErrUnknownKey, key.Value))
		case !known:
			refuse(key, unknown(fmt.Errorf("%w: %s", ErrUnknownKey, key.Value), key.Value, names))
		default:
			text, err := scalarText(value, several)
			if err != nil {
				refuse(value, fmt.Errorf("%s: %w", key.Value, err))
				return
			}
			g.settings[key.Value] = given{text, at(key, key.Value)}
		}
	})
	if err := decoder.Decode(&document); !errors.Is(err, io.EOF) {
		refuse(&document, errors.New("the file must hold one document"))
	}
	return g, problems
}

func settingKind(name string) (several, known bool) {
	for _, s := range brokerSettings {
		if s.name == name {
			return s.several, true
		}
	}
	return false, false
}

// eachPair calls do for the pairs of a mapping, whose keys must differ.
func eachPair(n *yaml.Node, refuse func(*yaml.Node, error), do func(key, value *yaml.Node)) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return
	}
	if n.Kind != yaml.MappingNode {
		refuse(n, errors.New("must be a mapping of names to values"))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if seen[key.Value] {
			refuse(key, fmt.Errorf("%s is there twice", key.Value))
			continue
		}
		seen[key.Value] = true
		do(key, n.Content[i+1])
	}
}

// scalarText returns the text of a scalar, or of a list of scalars joined by commas.
func scalarText(n *yaml.Node, list bool) (string, error) {
	switch {
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return "", nil
	case n.Kind == yaml.ScalarNode:
		return n.Value, nil
	case n.Kind == yaml.SequenceNode && list:
		parts := make([]string, 0, len(n.Content))
		for _, item := range n.Content {
			text, err := scalarText(item, false)
			if err != nil {
				return "", err
			}
			parts = append(parts, text)
		}
		return strings.Join(parts, ","), nil
	case list:
		return "", errors.New("must be a value or a list of values")
	default:
		return "", errors.New("must be a single value")
	}
}
