locals {
  tags = merge(var.tags, { "varve:cluster" = var.name })

  # Ports. Clients get the port that Kafka's users expect: 9092 in plain text, 9093 with TLS.
  client_port  = var.tls == null ? 9092 : 9093
  broker_port  = 9091
  http_port    = 9644
  control_port = 9100 # etcd's members; the next is for etcd's clients, the one after it for NATS

  # Node ids in the order of numbers: "10" is after "9".
  ids      = [for id in sort([for id in keys(var.brokers) : format("%010d", tonumber(id))]) : tostring(tonumber(id))]
  embedded = var.external_control_plane == null
  seeds = !local.embedded ? [] : var.seeds != null ? [for id in local.ids : id if contains(var.seeds, id)] : slice(
    local.ids, 0, length(local.ids) < 3 ? 1 : 3
  )

  # Where a broker is: an address that stays, or the name that leads to it.
  addresses = { for id, i in aws_network_interface.broker : id => i.private_ip }
  hosts     = { for id in local.ids : id => var.dns == null ? local.addresses[id] : "broker-${id}.${var.dns.domain}" }
  racks     = { for id, b in var.brokers : id => coalesce(b.rack, b.availability_zone) }

  object_store = "s3://${var.bucket.name}?region=${data.aws_region.current.name}&prefix=${var.bucket.prefix}"
}

data "aws_region" "current" {}

data "aws_partition" "current" {}
