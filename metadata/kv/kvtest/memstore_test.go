package kvtest_test

import (
	"testing"

	"github.com/varvelog/varve/metadata/kv/kvtest"
)

func TestMemStoreConforms(t *testing.T) {
	kvtest.Run(t, func(t *testing.T) kvtest.Instance {
		t.Helper()
		s := kvtest.NewMemStore()
		t.Cleanup(func() { _ = s.Close() })
		return kvtest.Instance{Store: s, Compact: func(t *testing.T, revision int64) {
			t.Helper()
			s.Compact(revision)
		}}
	})
}
