output "bootstrap_servers" {
  description = "What Kafka clients take as bootstrap.servers."
  value = {
    addresses = join(",", [for id in local.ids : "${local.hosts[id]}:${local.client_port}"])
    dns       = var.dns == null ? "" : "bootstrap.${var.dns.domain}:${local.client_port}"
    nlb       = var.bootstrap != "nlb" ? "" : "${var.dns == null ? aws_lb.bootstrap[0].dns_name : "bootstrap.${var.dns.domain}"}:${local.client_port}"
  }[var.bootstrap]
}

output "brokers" {
  description = "The brokers by node id: where each is and what it consists of."
  value = { for id in local.ids : id => {
    host                 = local.hosts[id]
    private_ip           = local.addresses[id]
    rack                 = local.racks[id]
    instance_id          = aws_instance.broker[id].id
    network_interface_id = aws_network_interface.broker[id].id
    volume_id            = try(aws_ebs_volume.data[id].id, null)
    iam_role             = aws_iam_role.broker[id].name
  } }
}

output "outdated_brokers" {
  description = "Node ids of the brokers whose instances were made from something else than what is configured now: replace them one at a time (README.md, \"Changes\")."
  value       = [for id in local.ids : id if aws_instance.broker[id].tags["varve:configuration"] != local.configuration[id]]
}

output "seeds" {
  description = "Node ids of the brokers that run the embedded control plane; none if it is external."
  value       = local.seeds
}

output "settings" {
  description = "The settings file of each broker, /etc/varve/varve.yaml, by node id."
  value       = { for id in local.ids : id => yamlencode(local.settings[id]) }
}

output "bucket" {
  description = "Name of the bucket of the remote tier."
  value       = var.bucket.create ? aws_s3_bucket.tier[0].id : var.bucket.name
}

output "object_store" {
  description = "The remote tier as varve's --object-store takes it."
  value       = local.object_store
}

output "security_group_ids" {
  description = "Security groups of the brokers and of the load balancer, if there is one."
  value = {
    brokers = aws_security_group.brokers.id
    nlb     = try(aws_security_group.nlb[0].id, null)
  }
}
