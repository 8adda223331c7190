output "bootstrap_servers" {
  description = "For Kafka clients on this machine."
  value       = join(",", [for id in sort(keys(var.ports)) : "127.0.0.1:${var.ports[id].kafka}"])
}
