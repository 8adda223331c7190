package server

import (
	"errors"
	"fmt"
	"strings"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/objstore"
)

// Check returns what Run would reject in settings that are valid by themselves. It does not look at
// the files and servers that they name.
func Check(cfg config.Broker) error {
	problems := []error{objstore.CheckURL(cfg.ObjectStore)}
	if strings.HasPrefix(cfg.ObjectStore, "mem:") {
		// Segments are deleted from the disk once they are in the object store.
		problems = append(problems, fmt.Errorf("--object-store %s: a bucket in memory is for tests, a broker would lose its history in it: use file://DIR, or a bucket of S3, GCS or Azure", cfg.ObjectStore))
	}
	const attempt = "varve.objstore.attempt.timeout.ms"
	if set := (config.Layers{Static: cfg.Static()}).Broker().Duration(attempt); set >= objstore.RequestTimeout {
		problems = append(problems, fmt.Errorf("%s=%d: must be below the %d that a request may take in all, or none is ever repeated", attempt, set.Milliseconds(), objstore.RequestTimeout.Milliseconds()))
	}
	return errors.Join(problems...)
}
