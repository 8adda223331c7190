package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// The limits of Kafka's own commands.
const (
	downloadLimit = 15 * time.Minute
	formatLimit   = time.Minute
)

// kafka starts Apache Kafka in KRaft mode: every broker is a controller, too.
type kafka struct {
	version   string
	heap      string
	libs      string // the directory of the jars, known after prepare
	clusterID string // of the cluster that starts next, made with its first broker
}

// prepare fetches the jars of this version, unless an earlier run has. Maven decides from where.
func (k *kafka) prepare(ctx context.Context, scratch string) error {
	for _, tool := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("kafka %s needs %s on the PATH: install a Java runtime and Maven, "+
				"or leave the system out", k.version, tool)
		}
	}
	dir := filepath.Join(scratch, "kafka-"+k.version)
	k.libs = filepath.Join(dir, "libs")
	complete := filepath.Join(dir, "complete")
	if _, err := os.Stat(complete); err == nil {
		return nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove an incomplete download of Kafka: %w", err)
	}
	if err := os.MkdirAll(k.libs, 0o755); err != nil {
		return fmt.Errorf("make a directory for Kafka's jars: %w", err)
	}
	pom := filepath.Join(dir, "pom.xml")
	if err := os.WriteFile(pom, []byte(kafkaPOM(k.version)), 0o600); err != nil {
		return fmt.Errorf("write the pom that names Kafka's jars: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, downloadLimit)
	defer cancel()
	err := runTool(ctx, "mvn", "-q", "-B", "-f", pom,
		"dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+k.libs)
	if err != nil {
		return fmt.Errorf("fetch the jars of Kafka %s with Maven, is there such a version: %w", k.version, err)
	}
	return os.WriteFile(complete, nil, 0o600)
}

// kafkaPOM names the broker and what prints its log. SLF4J is of the series that Kafka uses.
func kafkaPOM(version string) string {
	return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>varve</groupId>
  <artifactId>bench</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>` + version + `</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
`
}

// node writes the broker's properties, formats its directory, and returns the command that Kafka's
// start script runs: the same collector and heap.
func (k *kafka) node(ctx context.Context, s nodeSpec) ([]string, error) {
	if s.id == 1 {
		id := make([]byte, 16)
		_, _ = rand.Read(id) // never fails
		k.clusterID = base64.RawURLEncoding.EncodeToString(id)
	}
	properties := filepath.Join(s.dir, "server.properties")
	if err := os.WriteFile(properties, []byte(kafkaProperties(s)), 0o600); err != nil {
		return nil, fmt.Errorf("write Kafka's properties: %w", err)
	}
	classes := filepath.Join(k.libs, "*")
	ctx, cancel := context.WithTimeout(ctx, formatLimit)
	defer cancel()
	// The id is one word with the flag: it may begin with a hyphen.
	err := runTool(ctx, "java", "-cp", classes,
		"kafka.tools.StorageTool", "format", "--cluster-id="+k.clusterID, "--config", properties)
	if err != nil {
		return nil, fmt.Errorf("format Kafka's directory: %w", err)
	}
	return []string{
		"java", "-Xmx" + k.heap, "-Xms" + k.heap, "-server",
		"-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35",
		"-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true",
		"-cp", classes, "kafka.Kafka", properties,
	}, nil
}

// kafkaController is the port of a broker's controller, after the one for clients.
const kafkaController = 1

// kafkaProperties returns the settings that the server.properties of Kafka ships, with addresses
// and replication for this cluster.
func kafkaProperties(s nodeSpec) string {
	var voters []string
	for id := 1; id <= s.size; id++ {
		voters = append(voters, fmt.Sprintf("%d@%s", id, s.address(id, kafkaController)))
	}
	replicas, inSync := 1, 1
	if s.size >= failoverBrokers {
		replicas, inSync = 3, 2
	}
	return fmt.Sprintf(`process.roles=broker,controller
node.id=%d
controller.quorum.voters=%s
listeners=PLAINTEXT://%s,CONTROLLER://%s
advertised.listeners=PLAINTEXT://%[3]s
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=%[5]s
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
num.partitions=1
num.recovery.threads.per.data.dir=2
offsets.topic.replication.factor=%[6]d
share.coordinator.state.topic.replication.factor=%[6]d
share.coordinator.state.topic.min.isr=%[7]d
transaction.state.log.replication.factor=%[6]d
transaction.state.log.min.isr=%[7]d
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
`, s.id, strings.Join(voters, ","), s.address(s.id, 0), s.address(s.id, kafkaController),
		filepath.Join(s.dir, "data"), replicas, inSync)
}

// runTool runs a command to its end. Its error has the end of what the command printed.
func runTool(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.WaitDelay = stopGrace
	bind(cmd)
	runtime.LockOSThread() // see startProcess
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s did not end in time: %w", name, err)
	default:
		return fmt.Errorf("%s: %w; it printed:\n%s", name, err, lastLines(bytes.TrimSpace(out), 15))
	}
}
