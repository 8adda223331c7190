package server

import (
	"errors"
	"fmt"
	"strings"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/objstore"
)

// Check says what Run would refuse of settings that are valid by themselves,
// without a look at what they name.
func Check(cfg config.Broker) error {
	problems := []error{objstore.CheckURL(cfg.ObjectStore)}
	if strings.HasPrefix(cfg.ObjectStore, "mem:") {
		// Segments leave the disk once they are in the object store.
		problems = append(problems, fmt.Errorf("--object-store %s: a bucket in memory is for tests, a broker would lose its history in it: use file://DIR, or a bucket of S3, GCS or Azure", cfg.ObjectStore))
	}
	const attempt = "varve.objstore.attempt.timeout.ms"
	if set := (config.Layers{Static: cfg.Static()}).Broker().Duration(attempt); set >= objstore.RequestTimeout {
		problems = append(problems, fmt.Errorf("%s=%d: must be below the %d that a request may take in all, or none is ever repeated", attempt, set.Milliseconds(), objstore.RequestTimeout.Milliseconds()))
	}
	return errors.Join(problems...)
}
