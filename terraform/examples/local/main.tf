# Three brokers and an S3 server in containers of this machine's Docker engine.
# Nothing is published beyond this machine.
locals {
  bucket   = "varve"
  user     = "varve-local"
  password = "varve-local-secret" # of a server that only these containers reach
  seeds    = join(",", [for id in sort(keys(var.ports)) : "${id}=${var.name}-broker-${id}:9100"])
}

resource "docker_network" "this" {
  name = var.name
}

resource "docker_volume" "objects" {
  name = "${var.name}-objects"
}

resource "docker_container" "s3" {
  name     = "${var.name}-s3"
  hostname = "s3"
  image    = var.s3_image
  command  = ["--port", ":7070", "posix", "/data"]
  env      = ["ROOT_ACCESS_KEY=${local.user}", "ROOT_SECRET_KEY=${local.password}"]
  restart  = "on-failure"

  networks_advanced {
    name    = docker_network.this.name
    aliases = ["s3"]
  }
  volumes {
    volume_name    = docker_volume.objects.name
    container_path = "/data"
  }
  # A directory is a bucket: this makes it.
  upload {
    file    = "/data/${local.bucket}/.made-by-terraform"
    content = "the bucket of the remote tier"
  }
}

resource "docker_volume" "data" {
  for_each = var.ports

  name = "${var.name}-data-${each.key}"
}

resource "docker_container" "broker" {
  for_each = var.ports

  name      = "${var.name}-broker-${each.key}"
  hostname  = "${var.name}-broker-${each.key}"
  image     = var.image
  read_only = true
  restart   = "on-failure"

  # A controlled shutdown, as systemd does it.
  stop_signal           = "SIGTERM"
  stop_timeout          = 120
  destroy_grace_seconds = 120

  env = [
    "VARVE_NODE_ID=${each.key}",
    "VARVE_RACK=rack-${each.key}",
    "VARVE_SEEDS=${local.seeds}",
    "VARVE_CONTROL=0.0.0.0:9100",
    "VARVE_LISTEN=BROKERS://0.0.0.0:9091,CLIENTS://0.0.0.0:9092",
    "VARVE_ADVERTISE=BROKERS://${var.name}-broker-${each.key}:9091,CLIENTS://127.0.0.1:${each.value.kafka}",
    "VARVE_SET=listener.security.protocol.map=BROKERS:PLAINTEXT,CLIENTS:PLAINTEXT inter.broker.listener.name=BROKERS min.insync.replicas=2",
    "VARVE_HTTP=0.0.0.0:9644",
    "VARVE_OBJECT_STORE=s3://${local.bucket}?endpoint=http://s3:7070&region=us-east-1&path_style=true&prefix=varve",
    "AWS_ACCESS_KEY_ID=${local.user}",
    "AWS_SECRET_ACCESS_KEY=${local.password}",
  ]

  networks_advanced {
    name = docker_network.this.name
  }
  volumes {
    volume_name    = docker_volume.data[each.key].name
    container_path = "/data"
  }
  ports {
    internal = 9092
    external = each.value.kafka
    ip       = "127.0.0.1"
  }
  ports {
    internal = 9644
    external = each.value.http
    ip       = "127.0.0.1"
  }

  depends_on = [docker_container.s3]
}
