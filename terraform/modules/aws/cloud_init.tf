# What an instance is told at its first boot: files and units, and to start
# varve.service. No secret is in it, only where secrets are.
locals {
  # A broker's settings, as varve broker start --config reads them.
  settings = { for id in local.ids : id => merge(
    {
      node-id      = tonumber(id)
      cluster      = var.name
      rack         = local.racks[id]
      listen       = ["BROKERS://0.0.0.0:${local.broker_port}", "CLIENTS://0.0.0.0:${local.client_port}"]
      advertise    = ["BROKERS://${local.hosts[id]}:${local.broker_port}", "CLIENTS://${local.hosts[id]}:${local.client_port}"]
      http         = "0.0.0.0:${local.http_port}"
      object-store = local.object_store
      set = merge(
        length(local.ids) < 3 ? {} : { "min.insync.replicas" = "2" },
        var.settings,
        {
          "inter.broker.listener.name"     = "BROKERS"
          "listener.security.protocol.map" = var.tls == null ? "BROKERS:PLAINTEXT,CLIENTS:PLAINTEXT" : "BROKERS:SSL,CLIENTS:SSL"
        },
        var.tls == null ? {} : {
          "ssl.keystore.type"       = "PEM"
          "ssl.keystore.location"   = "${local.tls_dir}/keystore.pem"
          "ssl.truststore.type"     = "PEM"
          "ssl.truststore.location" = "${local.tls_dir}/truststore.pem"
          "ssl.client.auth"         = var.tls.client_auth
        },
      )
    },
    local.embedded ? { seeds = [for s in local.seeds : "${s}=${local.hosts[s]}:${local.control_port}"] } : {
      etcd                   = var.external_control_plane.etcd
      nats                   = var.external_control_plane.nats
    },
    contains(local.seeds, id) ? { control = "${local.addresses[id]}:${local.control_port}" } : {},
    var.tls == null ? {} : {
      http-cert-file = "${local.tls_dir}/keystore.pem" # the certificate and the key stand in one file
      http-key-file  = "${local.tls_dir}/keystore.pem"
    },
    var.tls == null || !local.embedded ? {} : {
      control-cert-file = "${local.tls_dir}/keystore.pem"
      control-key-file  = "${local.tls_dir}/keystore.pem"
      control-ca-file   = "${local.tls_dir}/truststore.pem"
    },
    var.process_settings,
  ) }

  tls_dir = "/etc/varve/tls"
  systemd = "${path.module}/../../../packaging/systemd"

  files = { for id in local.ids : id => merge(
    {
      "/etc/varve/varve.yaml" = { mode = "0644", content = yamlencode(local.settings[id]) }
      "/etc/varve/instance.env" = { mode = "0644", content = templatefile("${path.module}/templates/instance.env.tftpl", {
        region     = data.aws_region.current.name
        binary     = var.binary
        device     = var.brokers[id].instance_store ? "instance-store" : local.devices[id]
        keystore   = var.tls == null ? "" : var.tls.keystore_arns[id]
        truststore = var.tls == null ? "" : var.tls.truststore_arn
      }) }
      "/usr/lib/sysusers.d/varve.conf"                  = { mode = "0644", content = file("${local.systemd}/varve.sysusers.conf") }
      "/etc/systemd/system/varve.service"               = { mode = "0644", content = file("${local.systemd}/varve.service") }
      "/etc/systemd/system/varve.service.d/10-aws.conf" = { mode = "0644", content = file("${path.module}/files/10-aws.conf") }
      "/etc/systemd/system/varve-instance.service"      = { mode = "0644", content = file("${path.module}/files/varve-instance.service") }
      "/usr/local/lib/varve/install"                    = { mode = "0755", content = file("${path.module}/files/install") }
      "/usr/local/lib/varve/mount-data"                 = { mode = "0755", content = file("${path.module}/files/mount-data") }
    },
    var.tls == null ? {} : {
      "/usr/local/lib/varve/fetch-tls"                  = { mode = "0755", content = file("${path.module}/files/fetch-tls") }
      "/etc/systemd/system/varve.service.d/20-tls.conf" = { mode = "0644", content = file("${path.module}/files/20-tls.conf") }
      "/etc/systemd/system/varve-tls.service"           = { mode = "0644", content = file("${path.module}/files/varve-tls.service") }
      "/etc/systemd/system/varve-tls.timer"             = { mode = "0644", content = templatefile("${path.module}/templates/varve-tls.timer.tftpl", { minutes = var.tls.refresh_minutes }) }
    },
  ) }

  # Nitro names a volume after its id, so that no other disk is ever formatted.
  devices = { for id, v in aws_ebs_volume.data : id => "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${replace(v.id, "-", "")}" }

  user_data = { for id in local.ids : id => templatefile("${path.module}/templates/cloud-init.yaml.tftpl", {
    files = local.files[id]
    units = concat(["varve.service"], var.tls == null ? [] : ["varve-tls.timer"])
  }) }
}
