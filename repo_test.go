// Package varve_test holds the checks that concern the repository as a whole.
package varve_test

import (
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/varvelog/varve/"

// layers is the whole dependency policy: a package may import only the packages of this module that
// its line names. An import against the arrow is a design error: move the code, do not add an
// interface to hide it.
var layers = map[string][]string{
	"invariants":  {},
	"backoff":     {"stepped"},
	"stepped":     {},
	"document":    {},
	"record":      {},
	"vfs":         {},
	"tracing":     {},
	"config":      {},
	"objstore":    {"stepped"},
	"metadata/kv": {},
	"notify":      {},
	"security":    {},

	"protocol":    {"record"},
	"storage":     {"invariants", "record", "vfs"},
	"coordinator": {"record"},

	"metadata":            {"backoff", "document", "metadata/kv", "stepped"},
	"metadata/controller": {"backoff", "metadata", "metadata/kv", "stepped"},
	"metadata/kv/etcd":    {"backoff", "metadata/kv"},
	"client":              {"protocol", "record", "security"},
	"groups":              {"record", "coordinator", "metadata"},
	"tiering": {
		"backoff", "record", "stepped", "storage", "objstore", "metadata", "metadata/kv",
		"tiering/catalogue", "tiering/format", "tiering/lineage", "tiering/ownership",
	},
	"tiering/diskcache":  {"stepped", "vfs"},
	"tiering/catalogue":  {"metadata", "metadata/kv", "objstore", "tiering/format"},
	"tiering/format":     {"document", "metadata"},
	"tiering/ownership":  {},
	"tiering/lineage":    {"storage"},
	"replication":        {"backoff", "record", "stepped", "storage", "tiering", "metadata", "replication/insync", "replication/role"},
	"replication/insync": {"metadata"},
	"replication/role":   {"metadata", "replication/insync"},

	"interbroker": {"protocol", "metadata", "replication"},
	"telemetry":   {"metadata", "replication", "groups"},

	"broker": {"invariants", "protocol", "record", "storage", "tiering", "replication", "coordinator", "groups", "metadata", "metadata/kv", "config"},
	"server": {
		"vfs", "config", "objstore", "metadata", "metadata/kv", "metadata/kv/etcd", "metadata/controller", "notify", "record", "protocol", "storage",
		"backoff", "coordinator", "groups", "tiering", "replication", "tiering/catalogue", "tiering/diskcache", "interbroker", "broker", "security", "telemetry", "tracing",
	},
	"cmd/varve": {"config", "server", "client", "record", "storage", "objstore", "tiering/catalogue", "tiering/format"},

	// Test kits: conformance suites and harnesses that ship beside a seam.
	"porttest":                    {},
	"runtest":                     {},
	"vfs/vfstest":                 {"vfs"},
	"objstore/bucketadmin":        {},
	"security/securitytest":       {},
	"objstore/objstoretest":       {"objstore", "objstore/bucketadmin"},
	"metadata/kv/kvtest":          {"metadata/kv"},
	"metadata/metadatatest":       {"metadata", "metadata/kv", "runtest"},
	"simulation":                  {"backoff", "metadata", "metadata/controller", "metadata/kv", "objstore", "record", "stepped", "tiering/format"},
	"coordinator/coordinatortest": {"coordinator", "record"},

	"integration":            {}, // tests only
	"integration/crashfs":    {"vfs"},
	"integration/containers": {}, // tests only, a module of its own
}

func TestDependencyDirection(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range goFiles(t) {
		if f.isTest() || strings.HasPrefix(f.name, "tools/") {
			continue
		}
		pkg := path.Dir(f.name)
		seen[pkg] = true
		allowed, listed := layers[pkg]
		if !listed {
			t.Errorf("%s: package %q is not in the dependency policy", f.name, pkg)
			continue
		}
		for _, spec := range f.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if dep, ours := strings.CutPrefix(imported, module); ours && !slices.Contains(allowed, dep) {
				t.Errorf("%s: %s must not import %s", f.name, pkg, dep)
			}
		}
	}
	for pkg := range layers {
		if !seen[pkg] {
			t.Errorf("the policy names %q, which does not exist", pkg)
		}
	}
}
