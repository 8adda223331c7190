package metadata_test

import (
	"testing"

	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/metadata/metadatatest"
)

func TestMemStoreConforms(t *testing.T) {
	metadatatest.Run(t, func(t *testing.T) metadatatest.Instance {
		t.Helper()
		s := metadata.NewMemStore()
		t.Cleanup(func() { _ = s.Close() })
		return metadatatest.Instance{Store: s, Compact: func(t *testing.T, revision int64) {
			t.Helper()
			s.Compact(revision)
		}}
	})
}
