import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.*;
import org.apache.kafka.common.serialization.*;

/** kafka-clients against a running broker. Usage: java Smoke.java BOOTSTRAP */
public class Smoke {
    static final String TOPIC = "java-smoke";
    static final int RECORDS = 20_000;
    static String bootstrap;

    public static void main(String[] args) throws Exception {
        bootstrap = args[0];
        try (Admin admin = Admin.create(Map.<String, Object>of("bootstrap.servers", bootstrap))) {
            topics(admin);
            produce();
            offsets(admin);
            group("classic", 3);
            groups(admin);
            admin.deleteTopics(List.of(TOPIC)).all().get(30, TimeUnit.SECONDS);
        }
        System.out.println("    java smoke");
    }

    static void topics(Admin admin) throws Exception {
        NewTopic topic = new NewTopic(TOPIC, Optional.of(6), Optional.empty()).configs(Map.of("segment.bytes", "1048576"));
        var created = admin.createTopics(List.of(topic));
        created.all().get(30, TimeUnit.SECONDS);
        check(created.numPartitions(TOPIC).get() == 6, "partitions in the reply");
        check(created.config(TOPIC).get().get("segment.bytes").value().equals("1048576"), "configs in the reply");
        fails(TopicExistsException.class, () -> admin.createTopics(List.of(topic)).all().get(30, TimeUnit.SECONDS));
        fails(InvalidConfigurationException.class, () -> admin.createTopics(
            List.of(new NewTopic("bad", 1, (short) 1).configs(Map.of("retention.ms", "soon")))).all().get(30, TimeUnit.SECONDS));
        fails(InvalidTopicException.class, () -> admin.createTopics(
            List.of(new NewTopic("no/slash", 1, (short) 1))).all().get(30, TimeUnit.SECONDS));
        var byName = admin.describeTopics(List.of(TOPIC)).allTopicNames().get(30, TimeUnit.SECONDS).get(TOPIC);
        check(byName.partitions().size() == 6, "described partitions");
        var byId = admin.describeTopics(org.apache.kafka.common.TopicCollection.ofTopicIds(List.of(byName.topicId())))
            .allTopicIds().get(30, TimeUnit.SECONDS);
        check(byId.get(byName.topicId()).name().equals(TOPIC), "described by id");
        check(admin.describeCluster().nodes().get(30, TimeUnit.SECONDS).size() == 1, "one node");
    }

    static void produce() throws Exception {
        Map<String, Object> props = Map.of("bootstrap.servers", bootstrap, "acks", "all", "compression.type", "zstd", "linger.ms", 5);
        try (var producer = new KafkaProducer<>(props, new StringSerializer(), new StringSerializer())) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < RECORDS; i++) {
                sent.add(producer.send(new ProducerRecord<>(TOPIC, i % 6, 1_000_000L + i, Integer.toString(i), "value " + i)));
            }
            for (var f : sent) check(f.get(30, TimeUnit.SECONDS).hasOffset(), "an offset for each record");
            fails(RecordTooLargeException.class, () -> {
                Map<String, Object> big = Map.of("bootstrap.servers", bootstrap, "max.request.size", 8_000_000);
                try (var p = new KafkaProducer<>(big, new StringSerializer(), new ByteArraySerializer())) {
                    p.send(new ProducerRecord<>(TOPIC, new byte[4_000_000])).get(30, TimeUnit.SECONDS);
                }
            });
        }
    }

    static void offsets(Admin admin) throws Exception {
        var first = new TopicPartition(TOPIC, 0);
        for (var want : List.of(Map.entry(OffsetSpec.earliest(), 0L), Map.entry(OffsetSpec.latest(), 3334L),
                Map.entry(OffsetSpec.maxTimestamp(), 3333L), Map.entry(OffsetSpec.forTimestamp(1_000_600L), 100L),
                Map.entry(OffsetSpec.earliestLocal(), 0L))) {
            long got = admin.listOffsets(Map.of(first, want.getKey())).partitionResult(first).get(30, TimeUnit.SECONDS).offset();
            check(got == want.getValue(), want.getKey().getClass().getSimpleName() + ": got " + got + ", want " + want.getValue());
        }
        admin.listOffsets(Map.of(first, OffsetSpec.latestTiered())).partitionResult(first).get(30, TimeUnit.SECONDS);
    }

    static void group(String id, int members) throws Exception {
        Map<String, Object> props = Map.of("bootstrap.servers", bootstrap, "group.id", id, "auto.offset.reset", "earliest",
            "enable.auto.commit", false, "partition.assignment.strategy", CooperativeStickyAssignor.class.getName());
        Set<String> seen = ConcurrentHashMap.newKeySet();
        ExecutorService pool = Executors.newFixedThreadPool(members);
        List<Future<?>> running = new ArrayList<>();
        for (int m = 0; m < members; m++) {
            running.add(pool.submit(() -> {
                try (var consumer = new KafkaConsumer<>(props, new StringDeserializer(), new StringDeserializer())) {
                    consumer.subscribe(List.of(TOPIC));
                    long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
                    while (seen.size() < RECORDS && System.nanoTime() < until) {
                        for (var r : consumer.poll(Duration.ofMillis(100))) {
                            check(r.value().equals("value " + r.key()), "a value belongs to its key");
                            seen.add(r.key());
                        }
                        try { consumer.commitSync(); } catch (RebalanceInProgressException | CommitFailedException e) { /* polled again */ }
                    }
                }
            }));
        }
        for (var f : running) f.get(90, TimeUnit.SECONDS);
        pool.shutdown();
        check(seen.size() == RECORDS, "the group read " + seen.size() + " of " + RECORDS);
    }

    static void groups(Admin admin) throws Exception {
        var offsets = admin.listConsumerGroupOffsets("classic").partitionsToOffsetAndMetadata().get(30, TimeUnit.SECONDS);
        check(offsets.values().stream().mapToLong(OffsetAndMetadata::offset).sum() == RECORDS, "committed: " + offsets);
        admin.deleteConsumerGroups(List.of("classic")).all().get(30, TimeUnit.SECONDS);
        fails(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of("classic")).all().get(30, TimeUnit.SECONDS));
    }

    interface Action { void run() throws Exception; }

    static void fails(Class<? extends Exception> want, Action action) throws Exception {
        try {
            action.run();
        } catch (ExecutionException e) {
            check(want.isInstance(e.getCause()), "want " + want.getSimpleName() + ", got " + e.getCause());
            return;
        }
        check(false, "want " + want.getSimpleName() + ", got none");
    }

    static void check(boolean ok, String what) {
        if (!ok) throw new AssertionError(what);
    }
}
