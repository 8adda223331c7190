package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"
)

// The metrics of the cluster as a whole are those of the controller. The two that Kafka has on
// every broker are 0 on the others.
var (
	brokers            = gauge("kafka_brokers", "Live brokers.")
	brokerInfo         = gauge("kafka_broker_info", "1 for each live broker.", "id", "address")
	topicPartitions    = gauge("kafka_topic_partitions", "Partitions of the topic.", "topic")
	activeController   = gauge("kafka_controller_kafkacontroller_activecontrollercount", "1 on the broker that is the controller, 0 on the others.")
	offlinePartitions  = gauge("kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions without a live leader; 0 on brokers that are not the controller.")
	waitingPartitions  = gauge("varve_controller_waitingpartitionscount", "Partitions without a leader that wait for brokers which may have all that was committed; 0 on brokers that are not the controller.")
	activeBrokers      = gauge("kafka_controller_kafkacontroller_activebrokercount", "Brokers that are alive; 0 on brokers that are not the controller.")
	fencedBrokers      = gauge("kafka_controller_kafkacontroller_fencedbrokercount", "Brokers that are down and not unregistered; 0 on brokers that are not the controller.")
	globalTopics       = gauge("kafka_controller_kafkacontroller_globaltopiccount", "Topics; 0 on brokers that are not the controller.")
	globalPartitions   = gauge("kafka_controller_kafkacontroller_globalpartitioncount", "Partitions; 0 on brokers that are not the controller.")
	preferredImbalance = gauge("kafka_controller_kafkacontroller_preferredreplicaimbalancecount", "Partitions that another replica leads than the preferred one; 0 on brokers that are not the controller.")
)

type clusterCollector struct{ o Options }

func (clusterCollector) families() []family {
	return []family{
		brokers, brokerInfo, topicPartitions, activeController, activeBrokers, fencedBrokers, offlinePartitions, waitingPartitions, globalTopics, globalPartitions, preferredImbalance,
	}
}

func (c clusterCollector) collect(ch chan<- prometheus.Metric) {
	image, controller := c.o.Image(), c.o.IsController()
	activeController.send(ch, truth(controller))
	var alive, fenced, dark, waiting, topics, partitions, elsewhere int
	if controller {
		alive = len(image.Brokers)
		for id := range image.Known {
			fenced += count(image.IsFenced(id))
		}
		topics = image.TopicCount()
		for _, p := range offline(image) {
			dark++
			waiting += count(len(image.Awaited(p)) > 0)
		}
		for t := range image.Topics() {
			partitions += len(t.Partitions)
			for i := range t.Partitions {
				p := t.Partitions[i]
				elsewhere += count(len(p.Replicas) > 0 && p.Leader != p.Replicas[0])
			}
			topicPartitions.send(ch, float64(len(t.Partitions)), t.Name)
		}
		brokers.send(ch, float64(alive))
		for id, b := range image.Brokers {
			address := ""
			if l, ok := b.Listener(c.o.Listener); ok {
				address = l.Address()
			}
			brokerInfo.send(ch, 1, number(id), address)
		}
	}
	activeBrokers.send(ch, float64(alive))
	fencedBrokers.send(ch, float64(fenced))
	offlinePartitions.send(ch, float64(dark))
	waitingPartitions.send(ch, float64(waiting))
	globalTopics.send(ch, float64(topics))
	globalPartitions.send(ch, float64(partitions))
	preferredImbalance.send(ch, float64(elsewhere))
}
