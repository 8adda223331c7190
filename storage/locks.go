package storage

import "github.com/varvelog/varve/invariants"

// The ranks of this package's locks, in the order in which they are taken. doc.go says what each
// one guards. The tokens come first: they are held over I/O.
type (
	rankCleaningToken   struct{}
	rankCleaning        struct{}
	rankFlushToken      struct{}
	rankCheckpointing   struct{}
	rankManager         struct{}
	rankMoves           struct{}
	rankLog             struct{}
	rankStable          struct{}
	rankCheckpoints     struct{}
	rankFlushQueue      struct{}
	rankCommitter       struct{}
	rankRound           struct{}
	rankStrays          struct{}
	rankTrash           struct{}
	rankLargest         struct{}
	rankTxnIndex        struct{}
	rankFile            struct{}
	rankNames           struct{}
	rankFileCache       struct{}
	rankRemovals        struct{}
	rankBudget          struct{}
	rankPacer           struct{}
	rankStartCheckpoint struct{}
)

func (rankCleaningToken) Rank() invariants.Rank {
	return invariants.Rank{Order: 200, Name: "Log.cleaning.token"}
}

func (rankCleaning) Rank() invariants.Rank {
	return invariants.Rank{Order: 205, Name: "Log.cleaning.mu"}
}

func (rankFlushToken) Rank() invariants.Rank {
	return invariants.Rank{Order: 210, Name: "Log.flush.token"}
}

func (rankCheckpointing) Rank() invariants.Rank {
	return invariants.Rank{Order: 215, Name: "dataDir.checkpointing"}
}

func (rankManager) Rank() invariants.Rank {
	return invariants.Rank{Order: 220, Name: "Manager.mu"}
}

func (rankMoves) Rank() invariants.Rank {
	return invariants.Rank{Order: 225, Name: "Manager.moves"}
}

func (rankLog) Rank() invariants.Rank {
	return invariants.Rank{Order: 230, Name: "Log.mu"}
}

func (rankStable) Rank() invariants.Rank {
	return invariants.Rank{Order: 235, Name: "Log.stable"}
}

func (rankCheckpoints) Rank() invariants.Rank {
	return invariants.Rank{Order: 240, Name: "dataDir.checkpoints"}
}

func (rankFlushQueue) Rank() invariants.Rank {
	return invariants.Rank{Order: 245, Name: "dataDir.flushes"}
}

func (rankCommitter) Rank() invariants.Rank {
	return invariants.Rank{Order: 250, Name: "committer.mu"}
}

func (rankRound) Rank() invariants.Rank {
	return invariants.Rank{Order: 252, Name: "unnamed logs of a round"}
}

func (rankStrays) Rank() invariants.Rank {
	return invariants.Rank{Order: 255, Name: "Manager.strays"}
}

func (rankTrash) Rank() invariants.Rank {
	return invariants.Rank{Order: 260, Name: "env.trash"}
}

func (rankLargest) Rank() invariants.Rank {
	return invariants.Rank{Order: 265, Name: "segment.largest"}
}

func (rankTxnIndex) Rank() invariants.Rank {
	return invariants.Rank{Order: 270, Name: "txnIndex.mu"}
}

func (rankFile) Rank() invariants.Rank {
	return invariants.Rank{Order: 275, Name: "cachedFile.mu"}
}

// Several: a log's directory is renamed while the names of all its segments are locked.
func (rankNames) Rank() invariants.Rank {
	return invariants.Rank{Order: 280, Name: "segmentNames", Several: true}
}

func (rankFileCache) Rank() invariants.Rank {
	return invariants.Rank{Order: 285, Name: "fileCache.mu"}
}

func (rankRemovals) Rank() invariants.Rank {
	return invariants.Rank{Order: 287, Name: "removals"}
}

func (rankBudget) Rank() invariants.Rank {
	return invariants.Rank{Order: 290, Name: "byteBudget.mu"}
}

func (rankPacer) Rank() invariants.Rank {
	return invariants.Rank{Order: 295, Name: "pacer.mu"}
}

func (rankStartCheckpoint) Rank() invariants.Rank {
	return invariants.Rank{Order: 297, Name: "checkpointedStart.mu"}
}
