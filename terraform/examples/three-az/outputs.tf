output "bootstrap_servers" {
  description = "For Kafka clients in the VPC."
  value       = module.varve.bootstrap_servers
}

output "brokers" {
  description = "The brokers by node id."
  value       = module.varve.brokers
}

output "outdated_brokers" {
  description = "Brokers to replace, one at a time."
  value       = module.varve.outdated_brokers
}

output "settings" {
  description = "The settings file of each broker."
  value       = module.varve.settings
}

output "client_security_group_id" {
  description = "Security group for the machines of clients."
  value       = aws_security_group.clients.id
}
