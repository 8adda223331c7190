package storage

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/varvelog/varve/vfs"
)

// metaFile names the cluster and the broker that a data directory belongs to.
const metaFile = "meta.properties"

// metaProperties is the content of a meta.properties file, version 1.
type metaProperties struct {
	clusterID   string
	nodeID      int32
	directoryID [16]byte
}

// format returns the content as java.util.Properties writes it, with the keys sorted.
func (m metaProperties) format(now time.Time) []byte {
	escape := strings.NewReplacer(`\`, `\\`, `:`, `\:`, `=`, `\=`, `#`, `\#`, `!`, `\!`)
	return fmt.Appendf(nil, "#\n#%s\ncluster.id=%s\ndirectory.id=%s\nnode.id=%d\nversion=1\n",
		now.UTC().Format("Mon Jan 02 15:04:05 MST 2006"), escape.Replace(m.clusterID), formatUUID(m.directoryID), m.nodeID)
}

func parseMetaProperties(content []byte) (m metaProperties, err error) {
	values := map[string]string{}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		values[strings.TrimSpace(key)] = unescape(strings.TrimSpace(value))
	}
	if v := values["version"]; v != "1" {
		return m, fmt.Errorf("version is %q, want 1", v)
	}
	m.clusterID = values["cluster.id"]
	node, err := strconv.ParseInt(values["node.id"], 10, 32)
	if err != nil || m.clusterID == "" {
		return m, errors.New("cluster.id or node.id is missing")
	}
	m.nodeID = int32(node)
	if id, ok := values["directory.id"]; ok {
		if m.directoryID, err = parseUUID(id); err != nil {
			return m, fmt.Errorf("directory.id: %w", err)
		}
	}
	return m, nil
}

// unescape removes the backslashes that java.util.Properties adds.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// checkOwner rejects a directory whose meta.properties names another cluster or broker. If
// want.clusterID is empty it accepts any cluster. It returns the cluster's id and sets d.id.
func (d *dataDir) checkOwner(want metaProperties) (clusterID string, err error) {
	name := filepath.Join(d.path, metaFile)
	have, err := parseMetaProperties(d.meta)
	switch {
	case err != nil:
		return "", fmt.Errorf("%w: %s is damaged (%w): restore it, or remove it if the directory is this broker's", ErrDirInvalid, name, err)
	case want.clusterID != "" && have.clusterID != want.clusterID:
		return "", fmt.Errorf("%w: %s belongs to cluster %q, this broker to %q: choose another directory, or remove %s to adopt what is there",
			ErrDirInvalid, d.path, have.clusterID, want.clusterID, name)
	case have.nodeID != want.nodeID:
		return "", fmt.Errorf("%w: %s belongs to broker %d, this is broker %d: choose another directory or node id",
			ErrDirInvalid, d.path, have.nodeID, want.nodeID)
	}
	d.id = have.directoryID
	return have.clusterID, nil
}

// claim writes the file of a new directory, durably.
func (d *dataDir) claim(fsys vfs.FS, own metaProperties, now time.Time) error {
	d.id = own.directoryID
	if err := vfs.ReplaceFile(fsys, filepath.Join(d.path, metaFile), own.format(now), 0o644, true); err != nil {
		return d.unusable(err)
	}
	return nil
}
