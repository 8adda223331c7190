package config

import (
	"fmt"
	"strings"
)

// Markdown returns docs/configuration.md: every setting.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Configuration

Generated from the tables in package ` + "`config`" + ` by ` + "`make gen`" + `; do not edit.

A name that is not on this page is refused, with the nearest name that is. Configurations of Kafka's that Varve does not serve yet are
refused as such.

## Process settings

Given as a flag of ` + "`varve broker start`" + `, as an environment variable, or in the YAML file that ` + "`--config`" + ` (or ` + "`VARVE_CONFIG`" + `)
names, under the flag's name. A flag wins over the environment, the environment over the file, the file over the default.

| flag and YAML key | environment | default | what it is |
| --- | --- | --- | --- |
`)
	for _, s := range brokerSettings {
		b.WriteString(row("`"+s.name+"` "+s.value, "`"+s.env()+"`", code(s.def), s.doc))
	}
	b.WriteString(row("`set` KEY=VALUE", "`VARVE_SET`", "", "broker configuration by the names below; may be repeated"))
	b.WriteString(`
` + "`VARVE_SET`" + ` holds KEY=VALUE pairs with spaces between. Each broker configuration has a variable of its own as well:
` + "`VARVE_LOG_SEGMENT_BYTES`" + ` for ` + "`log.segment.bytes`" + `. In the file they stand under ` + "`set`" + `:

` + "```yaml" + `
data-dir: /var/lib/varve
listen: 0.0.0.0:9092
advertise: broker-1.example.com:9092
object-store: s3://history?region=eu-central-1
set:
  log.segment.bytes: 268435456
` + "```" + `

Several listeners, each of which tells its clients its own address:

` + "```yaml" + `
listen: [INTERNAL://0.0.0.0:9092, EXTERNAL://0.0.0.0:9094]
advertise: [INTERNAL://10.0.0.1:9092, EXTERNAL://broker-1.example.com:9094]
set:
  listener.security.protocol.map: INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT
  inter.broker.listener.name: INTERNAL
` + "```" + `

TLS ([operations](operations/listeners-and-tls.md#tls) has the whole of it); each ` + "`ssl.…`" + ` configuration can also be given for one listener, as
` + "`listener.name.<its name in small letters>.ssl.…`" + `:

` + "```yaml" + `
listen: [SSL://0.0.0.0:9093, LOCAL://127.0.0.1:9092]
advertise: [SSL://broker-1.example.com:9093]
set:
  listener.security.protocol.map: SSL:SSL,LOCAL:PLAINTEXT
  security.inter.broker.protocol: SSL
  ssl.keystore.location: /etc/varve/broker-1.pem
  ssl.truststore.location: /etc/varve/ca.pem
  ssl.client.auth: required
` + "```" + `

## Topic configurations

Set when a topic is created (` + "`varve topic create --config KEY=VALUE`" + `) or later; they take effect at once. A topic that does not set one has
the value of the broker configuration in the last column.

| name | type | default | allowed | what it is | broker configuration |
| --- | --- | --- | --- | --- | --- |
`)
	for _, k := range topicTable.keys {
		b.WriteString(row(code(k.Name), typeAndUnit(k), code(k.Default), k.allowed, k.Doc, code(k.Synonym)))
	}
	b.WriteString(`
## Broker configurations

Set with ` + "`--set`" + `. The cluster-wide ones can also be set while brokers run, for one broker or for all, and take effect at once; the read-only
ones are read at start.

| name | type | default | allowed | changes | what it is |
| --- | --- | --- | --- | --- | --- |
`)
	for _, k := range brokerTable.keys {
		def, doc := code(k.Default), k.Doc
		if k.Null {
			def = "null"
		}
		if k.Setting != "" {
			doc += " Shown only; set it with `--" + k.Setting + "`."
		}
		b.WriteString(row(code(k.Name), typeAndUnit(k), def, k.allowed, k.Dynamic.String(), doc))
	}
	return b.String()
}

func typeAndUnit(k Key) string {
	name := strings.ToLower(k.Type.String())
	if k.Unit != "" {
		return fmt.Sprintf("%s, %s", name, k.Unit)
	}
	return name
}

func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

func row(cells ...string) string {
	for i := range cells {
		cells[i] = strings.ReplaceAll(cells[i], "|", "\\|")
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}
