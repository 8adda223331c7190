"""confluent-kafka against a running broker: producers, groups, admin. Usage: librdkafka.py BOOTSTRAP"""

import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec,
                                   ResourceType)

bootstrap = sys.argv[1]
admin = AdminClient({"bootstrap.servers": bootstrap})


def done(futures):
    return {key: future.result(timeout=30) for key, future in futures.items()}


def poll_until(consumers, enough, seconds=60):
    """Poll the consumers in turn until enough(records so far) holds."""
    records, deadline = [], time.monotonic() + seconds
    while not enough(records):
        if time.monotonic() > deadline:
            raise AssertionError(f"only {len(records)} records in {seconds} s")
        for consumer in consumers:
            message = consumer.poll(0.05)
            if message is not None:
                if message.error():
                    raise KafkaException(message.error())
                records.append(message)
    return records


def commit(member):
    try:
        member.commit(asynchronous=False)
    except KafkaException as e:  # a member that has read nothing since the last commit has nothing to commit
        if e.args[0].code() != KafkaError._NO_OFFSET:
            raise


def topics_and_configs():
    done(admin.create_topics([NewTopic("py", num_partitions=4, replication_factor=1, config={"retention.ms": "3600000"})]))
    try:
        done(admin.create_topics([NewTopic("py", num_partitions=4, replication_factor=1)]))
        raise AssertionError("a topic was created twice")
    except KafkaException as e:
        assert e.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS, e
    done(admin.create_partitions([NewPartitions("py", 6)]))
    resource = ConfigResource(ResourceType.TOPIC, "py")
    values = next(iter(done(admin.describe_configs([resource])).values()))
    assert values["retention.ms"].value == "3600000", values["retention.ms"]
    change = ConfigResource(ResourceType.TOPIC, "py", incremental_configs=[
        ConfigEntry("retention.ms", "7200000", incremental_operation=AlterConfigOpType.SET)])
    done(admin.incremental_alter_configs([change]))
    values = next(iter(done(admin.describe_configs([resource])).values()))
    assert values["retention.ms"].value == "7200000", values["retention.ms"]
    bad = ConfigResource(ResourceType.TOPIC, "py", incremental_configs=[
        ConfigEntry("no.such.config", "1", incremental_operation=AlterConfigOpType.SET)])
    try:
        done(admin.incremental_alter_configs([bad]))
        raise AssertionError("an unknown config was accepted")
    except KafkaException as e:
        assert e.args[0].code() == KafkaError.INVALID_CONFIG, e
    metadata = admin.list_topics("py", timeout=30)
    assert len(metadata.topics["py"].partitions) == 6, metadata.topics["py"].partitions


def produce_and_share():
    failures = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": "lz4", "linger.ms": 5})
    for i in range(20000):
        producer.produce("py", key=str(i), value=f"value {i}", on_delivery=lambda e, _: e and failures.append(e))
        producer.poll(0)
    assert producer.flush(60) == 0 and not failures, failures
    for strategy in ("range", "cooperative-sticky"):
        settings = {"bootstrap.servers": bootstrap, "group.id": f"py-{strategy}", "auto.offset.reset": "earliest",
                    "partition.assignment.strategy": strategy, "session.timeout.ms": 10000}
        members = [Consumer(settings) for _ in range(3)]
        for member in members:
            member.subscribe(["py"])
        seen = poll_until(members, lambda r: len({m.key() for m in r}) == 20000)
        deadline = time.monotonic() + 30
        while any(len(m.assignment()) != 2 for m in members):
            assert time.monotonic() < deadline, [m.assignment() for m in members]
            for member in members:
                member.poll(0.05)
        last = {}
        for message in seen:
            assert message.value() == f"value {message.key().decode()}".encode()
        for member in members:
            commit(member)
        group = done(admin.describe_consumer_groups([f"py-{strategy}"]))[f"py-{strategy}"]
        assert len(group.members) == 3, group.members
        for member in members:
            member.close()
    offsets = done(admin.list_offsets({TopicPartition("py", p): OffsetSpec.latest() for p in range(6)}))
    assert sum(o.offset for o in offsets.values()) == 20000, offsets
    groups = admin.list_consumer_groups().result(timeout=30)
    assert {"py-range", "py-cooperative-sticky"} <= {g.group_id for g in groups.valid}
    done(admin.delete_consumer_groups(["py-range"]))


def delete():
    done(admin.delete_records([TopicPartition("py", 0, 10)]))
    earliest = done(admin.list_offsets({TopicPartition("py", 0): OffsetSpec.earliest()}))
    assert [o.offset for o in earliest.values()] == [10], earliest
    done(admin.delete_topics(["py"]))
    deadline = time.monotonic() + 30
    while "py" in admin.list_topics(timeout=30).topics:
        assert time.monotonic() < deadline, "the deleted topic is still there"


for check in (topics_and_configs, produce_and_share, delete):
    check()
    print(f"    python {check.__name__}")
