// Package config owns every name that can be set: Kafka's topic and broker
// configurations as this version honours them, and the settings of the broker
// process (flags, environment, YAML file).
//
// It is one typed table. Validation, DescribeConfigs, the effective settings
// of a topic and docs/configuration.md are all derived from it, so that a key
// is either in the table and honoured, or refused by name.
//
// What holds:
//   - A key of Kafka's that Varve does not serve yet is refused as such
//     ([ErrNotSupported]); a key nobody knows is refused with the nearest known
//     one ([ErrUnknownKey]). Nothing is accepted and ignored.
//   - Validation reports all problems at once, each with the key, the value and
//     what is allowed, in Kafka's words.
//   - [Values] are always complete and valid: a stored value that this version
//     would not accept (written by another version) is passed over for the
//     next layer, as Kafka does.
//
// Layers, the strongest first, as in Kafka:
//
//	topic override > dynamic broker > dynamic default > static (--set) > default
//
// The package knows nothing of the packages that use the settings; each of them
// takes its own small Config, filled in by the composition root. Everything
// here is a pure function, except [Flags.Load], which reads one file.
package config
