package vfs

// Sync implements File.
func (f osFile) Sync() error { return syncError(f.File.Sync()) }
