package config

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
)

const bothPlain = "--set=listener.security.protocol.map=INTERNAL:PLAINTEXT,external:plaintext"

func TestSeveralListeners(t *testing.T) {
	const wild = "--listen=INTERNAL://0.0.0.0:9092,external://:9094"
	const inter = "--set=inter.broker.listener.name=internal"
	const told = "--advertise=EXTERNAL://b1.example.com:9094,INTERNAL://10.0.0.1:9092"
	for name, args := range map[string][]string{
		"lists":    {wild, told, bothPlain, inter},
		"repeated": {"--listen=INTERNAL://0.0.0.0:9092", "--listen=external://:9094", "--advertise=EXTERNAL://b1.example.com:9094", "--advertise=INTERNAL://10.0.0.1:9092", bothPlain, inter},
	} {
		b := mustLoad(t, "", nil, args...)
		if want := []Endpoint{{"INTERNAL", "0.0.0.0:9092"}, {"EXTERNAL", ":9094"}}; !slices.Equal(b.Listen, want) {
			t.Errorf("%s: listens on %v", name, b.Listen)
		}
		if want := []Endpoint{{"EXTERNAL", "b1.example.com:9094"}, {"INTERNAL", "10.0.0.1:9092"}}; !slices.Equal(b.Advertise, want) {
			t.Errorf("%s: advertises %v", name, b.Advertise)
		}
		if b.InterBrokerListener() != "INTERNAL" || b.Protocol("EXTERNAL") != "PLAINTEXT" || b.Protocol("OTHER") != "" {
			t.Errorf("%s: %s, %q, %q", name, b.InterBrokerListener(), b.Protocol("EXTERNAL"), b.Protocol("OTHER"))
		}
		static := b.Static()
		if static["listeners"] != "INTERNAL://0.0.0.0:9092,EXTERNAL://:9094" || static["advertised.listeners"] != "EXTERNAL://b1.example.com:9094,INTERNAL://10.0.0.1:9092" {
			t.Errorf("%s: %v", name, static)
		}
	}
	b := mustLoad(t, "listen: [PLAINTEXT://h:1, 'INTERNAL://h:0']\nadvertise: h:2\nset: {listener.security.protocol.map: 'PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT'}", nil)
	if _, ok := b.Advertised("INTERNAL", &net.TCPAddr{Port: 3}); ok {
		t.Error("a listener that is left out of --advertise is advertised")
	}
	b = mustLoad(t, "", nil, "--listen=h:9092,INTERNAL://h:0", "--set=listener.security.protocol.map=PLAINTEXT:PLAINTEXT,INTERNAL:PLAINTEXT")
	if e, ok := b.Advertised("INTERNAL", &net.TCPAddr{Port: 4711}); !ok || e.Address != "h:4711" {
		t.Errorf("a port of the system's choice: %v", e)
	}
	mustLoad(t, "", nil, "--listen=PLAINTEXT://127.0.0.1:9092,V6://[::1]:9092", "--set=listener.security.protocol.map=PLAINTEXT:PLAINTEXT,V6:PLAINTEXT")
	mustLoad(t, "", nil, "--listen=h:9092,V6://h:9093", "--advertise=lb:9092,V6://lb:9092", "--set=listener.security.protocol.map=PLAINTEXT:PLAINTEXT,V6:PLAINTEXT")
}

func TestListenersThatAreRefused(t *testing.T) {
	const inter, both = " --set=inter.broker.listener.name=INTERNAL ", "--listen=INTERNAL://h:1,EXTERNAL://h:2 "
	for args, want := range map[string][]string{
		"--listen=A://h:1,a://h:2":                {`--listen "A://h:1,a://h:2": the listener A is there twice`},
		"--listen=h:1 --listen=h:2":               {`--listen "h:1,h:2": the listener PLAINTEXT is there twice`},
		"--listen=h:1,PLAINTEXT://h:2":            {"the listener PLAINTEXT is there twice"},
		"--listen=A.B://h:1":                      {`"A.B://h:1" must be NAME://HOST:PORT or HOST:PORT`},
		"--listen=://h:1":                         {`"://h:1" must be NAME://HOST:PORT`},
		"--listen=h:1,":                           {"must be HOST:PORT"},
		"--listen=INTERNAL://h":                   {"must be HOST:PORT"},
		"--listen=":                               {"must be HOST:PORT or NAME://HOST:PORT"},
		"--advertise=A://h:1,A://h:2":             {`--advertise "A://h:1,A://h:2": the listener A is there twice`},
		"--advertise=PLAINTEXT://0.0.0.0:9092":    {"must name a host that clients can reach"},
		both + "--advertise=EXTERNAL://[::]:1":    {"must name a host that clients can reach"},
		"--listen=h:1 --advertise=EXTERNAL://g:1": {"--advertise EXTERNAL://g:1: --listen has no listener EXTERNAL", "inter.broker.listener.name PLAINTEXT must be a listener that is advertised, which are EXTERNAL"},

		"--listen=INTERNAL://h:1,EXTERNAL://g:1 " + bothPlain + inter:                 {"--listen: INTERNAL://h:1 and EXTERNAL://g:1 have the same port"},
		"--listen=INTERNAL://127.0.0.1:1,EXTERNAL://127.0.0.2:1 " + bothPlain + inter: {"have the same port"},
		"--listen=INTERNAL://0.0.0.0:1,EXTERNAL://h:2 " + bothPlain + inter:           {"add --advertise INTERNAL://HOST:PORT"},
		both + bothPlain: {"inter.broker.listener.name PLAINTEXT must be a listener that is advertised, which are EXTERNAL, INTERNAL"},
		both + inter:     {"--listen INTERNAL://h:1: no security protocol is defined for listener INTERNAL: add --set listener.security.protocol.map=INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT"},
		both + bothPlain + " --advertise=EXTERNAL://h:2" + inter:                       {"inter.broker.listener.name INTERNAL must be a listener that is advertised, which are EXTERNAL"},
		"--set=listener.security.protocol.map=PLAINTEXT:SSL":                           {"listener PLAINTEXT: the security protocol SSL needs a certificate: set ssl.keystore.location"},
		"--set=security.inter.broker.protocol=SASL_SSL":                                {"security.inter.broker.protocol: the security protocol SASL_SSL is not supported yet", "inter.broker.listener.name SASL_SSL must be"},
		"--set=security.inter.broker.protocol=SSL":                                     {"inter.broker.listener.name SSL must be a listener that is advertised, which are PLAINTEXT"},
		"--set=listener.security.protocol.map=PLAINTEXT:SASL_PLAINTEXT":                {"listener.security.protocol.map: PLAINTEXT: the security protocol SASL_PLAINTEXT is not supported yet"},
		"--set=listener.security.protocol.map=PLAINTEXT:PLAINTEXT,A:SASL_SSL":          {"A: the security protocol SASL_SSL is not supported yet"},
		"--set=listener.security.protocol.map=PLAINTEXT:TLS":                           {`PLAINTEXT: "TLS" is no security protocol`},
		"--set=listener.security.protocol.map=PLAINTEXT":                               {`"PLAINTEXT" must be NAME:PROTOCOL`},
		"--set=listener.security.protocol.map=PLAINTEXT:PLAINTEXT,plaintext:PLAINTEXT": {"PLAINTEXT is there twice"},
		"--set=listeners=PLAINTEXT://h:1 --set=advertised.listeners=PLAINTEXT://h:1":   {"listeners is set with --listen", "advertised.listeners is set with --advertise"},
	} {
		_, err := load(t, "", nil, strings.Fields(args)...)
		if problems := split(err); len(problems) != len(want) {
			t.Errorf("%s: %q", args, problems)
		}
		for _, text := range want {
			if !strings.Contains(fmt.Sprint(err), text) {
				t.Errorf("%s: %v, not %q", args, err, text)
			}
		}
	}
}
