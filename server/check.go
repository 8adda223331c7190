package server

import (
	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/objstore"
)

// Check says what Run would refuse of settings that are valid by themselves,
// without a look at what they name.
func Check(cfg config.Broker) error { return objstore.CheckURL(cfg.ObjectStore) }
