package sample

// A test is counted by its lines alone.
