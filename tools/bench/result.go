package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const gigabyte = 1e9

// The units of a result's value.
const (
	megabytesPerSecond = "MB/s"
	requestsPerSecond  = "req/s"
	secondsTaken       = "s"
)

// result is one measurement: a leg that one system ran once. It is a line of -out.
type result struct {
	Time         time.Time `json:"time"`
	Round        int       `json:"round"` // from 1
	Leg          string    `json:"leg"`
	System       string    `json:"system"`
	Value        float64   `json:"value"`
	Unit         string    `json:"unit"`
	Error        string    `json:"error,omitempty"` // the leg failed and has no value
	Seconds      float64   `json:"seconds"`
	Records      int64     `json:"records,omitempty"`
	PayloadBytes int64     `json:"payload_bytes,omitempty"`
	BrokerCPU    float64   `json:"broker_cpu_seconds"` // of all brokers
	CPUPerGB     float64   `json:"broker_cpu_seconds_per_gb,omitempty"`
	ClientCPU    float64   `json:"client_cpu_seconds"`
	PeakRSS      int64     `json:"peak_rss_bytes"` // of all brokers, the sum
	OthersCores  float64   `json:"others_cores"`
	StolenCores  float64   `json:"stolen_cores"`
	Load         float64   `json:"load_at_start"` // average of the minute before
	Noisy        bool      `json:"noisy,omitempty"`
}

// used sets what the leg used.
func (r *result) used(u usage, peak int64) {
	r.Seconds = u.elapsed.Seconds()
	r.BrokerCPU, r.ClientCPU = u.brokerCPU.Seconds(), u.clientCPU.Seconds()
	r.OthersCores, r.StolenCores = u.others, u.stolen
	r.Noisy = u.others > noisyCores
	r.PeakRSS = peak
}

// payload sets what the leg moved, and the value in its unit. It comes after used.
func (r *result) payload(done counts) {
	r.Records, r.PayloadBytes = done.records, done.bytes
	if r.Seconds > 0 {
		r.Value = float64(done.bytes) / 1e6 / r.Seconds
		if r.Unit == requestsPerSecond {
			r.Value = float64(done.requests) / r.Seconds
		}
	}
	if done.bytes > 0 {
		r.CPUPerGB = r.BrokerCPU / (float64(done.bytes) / gigabyte)
	}
}

// summary is what the progress says of a result.
func (r *result) summary() string {
	if r.Error != "" {
		return "failed: " + r.Error
	}
	text := fmt.Sprintf("%s %s", figure(r.Value), r.Unit)
	if r.CPUPerGB > 0 {
		text += fmt.Sprintf(", %s CPU s/GB", figure(r.CPUPerGB))
	}
	text += fmt.Sprintf(", others %.2f cores, load %.1f", r.OthersCores, r.Load)
	if r.Noisy {
		text += ", noisy"
	}
	return text
}

// writeResult appends a line to a file of results.
func writeResult(w io.Writer, r result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a result: %w", err)
	}
	if _, err = w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write a result: %w", err)
	}
	return nil
}

// readResults reads a file of results.
func readResults(name string) (results []result, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	decoder := json.NewDecoder(bufio.NewReader(file))
	for {
		var r result
		if err = decoder.Decode(&r); errors.Is(err, io.EOF) {
			return results, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read results: result %d of %s: %w", len(results)+1, name, err)
		}
		results = append(results, r)
	}
}
