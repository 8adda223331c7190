// Package config owns every name that can be set: Kafka's topic and broker configurations as this
// version honors them, and the settings of the broker process (flags, environment, YAML file).
//
// It is one typed table. Validation, DescribeConfigs, the effective settings of a topic and
// docs/configuration.md are all derived from it. So a key is either in the table and honored, or
// rejected by name.
//
// What holds:
//   - A key of Kafka's that Varve does not serve yet is rejected as such ([ErrNotSupported]). An
//     unknown key is rejected with the nearest known one ([ErrUnknownKey]). Nothing is accepted and
//     ignored.
//   - Validation returns all problems at once, each with the key, the value and what is allowed, in
//     Kafka's words.
//   - [Values] are always complete and valid. A stored value that this version would not accept
//     (written by another version) is skipped in favor of the next layer, as in Kafka.
//
// Layers, the strongest first, as in Kafka:
//
//	topic override > dynamic broker > dynamic default > static (--set) > default
//
// The package knows nothing of the packages that use the settings. Each of them takes its own small
// Config, which the composition root fills in. Everything here is a pure function, except
// [Flags.Load], which reads one file.
package config
