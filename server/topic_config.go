package server

import (
	"maps"
	"sync"

	"github.com/varvelog/varve/config"
	"github.com/varvelog/varve/metadata"
	"github.com/varvelog/varve/storage"
)

// lastTopic caches the log settings of the last topic. A start, and the creation of a topic, asks
// once for every partition.
type lastTopic struct {
	mu struct {
		sync.Mutex
		layers    *config.Layers
		name      string
		overrides map[string]string
		log       storage.Config
	}
}

// get returns the topic's effective log settings under an image.
func (c *lastTopic) get(s *settings, image *metadata.Image, name string) storage.Config {
	layers, overrides := s.layers.Load(), image.TopicConfigs(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.layers != layers || c.mu.name != name || !maps.Equal(c.mu.overrides, overrides) {
		c.mu.layers, c.mu.name, c.mu.overrides = layers, name, overrides
		c.mu.log = logConfig(layers.Topic(overrides))
	}
	return c.mu.log
}
