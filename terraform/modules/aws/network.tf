# A broker's place in the network is its own, not its instance's: the address
# stays when the instance is replaced, and with it what seeds and clients know.
resource "aws_network_interface" "broker" {
  for_each = var.brokers

  description     = "Varve ${var.name} broker ${each.key}"
  subnet_id       = each.value.subnet_id
  private_ips     = each.value.private_ip == null ? null : [each.value.private_ip]
  security_groups = [aws_security_group.brokers.id]
  tags            = merge(local.tags, { Name = "${var.name}-broker-${each.key}" })

  lifecycle {
    # Another interface would be another instance, and another address of a seed: that is refused, not done.
    ignore_changes = [subnet_id, private_ips]

    postcondition {
      condition     = self.subnet_id == each.value.subnet_id && (each.value.private_ip == null || self.private_ip == each.value.private_ip)
      error_message = "Broker ${each.key} is at ${self.private_ip} in ${self.subnet_id} and stays there: take subnet_id and private_ip back, or remove the broker and add one with another id."
    }
  }
}

resource "aws_security_group" "brokers" {
  name        = "${var.name}-brokers"
  description = "Brokers of Varve ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-brokers" })
}

locals {
  # Who may reach which port of a broker: (name, port, security group or network).
  ingress = merge(
    { for name, id in var.clients.security_groups : "clients-${name}" => { port = local.client_port, group = id, cidr = null } },
    { for cidr in var.clients.cidr_blocks : "clients-${cidr}" => { port = local.client_port, group = null, cidr = cidr } },
    { for name, id in var.monitoring.security_groups : "monitoring-${name}" => { port = local.http_port, group = id, cidr = null } },
    { for cidr in var.monitoring.cidr_blocks : "monitoring-${cidr}" => { port = local.http_port, group = null, cidr = cidr } },
  )
  # What brokers reach of each other. The client port is among it: the tools of a person who is logged in to a broker use it.
  between = merge(
    {
      kafka   = { from = local.broker_port, to = local.broker_port }
      clients = { from = local.client_port, to = local.client_port }
    },
    local.embedded ? { control = { from = local.control_port, to = local.control_port + 2 } } : {},
  )
}

resource "aws_vpc_security_group_ingress_rule" "from" {
  for_each = local.ingress

  security_group_id            = aws_security_group.brokers.id
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = each.value.group
  cidr_ipv4                    = each.value.cidr
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "between" {
  for_each = local.between

  security_group_id            = aws_security_group.brokers.id
  description                  = "Between brokers: ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value.from
  to_port                      = each.value.to
  referenced_security_group_id = aws_security_group.brokers.id
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "between" {
  for_each = local.between

  security_group_id            = aws_security_group.brokers.id
  description                  = "Between brokers: ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value.from
  to_port                      = each.value.to
  referenced_security_group_id = aws_security_group.brokers.id
  tags                         = local.tags
}

# S3, Secrets Manager, SSM and the place of the binary have no fixed addresses.
resource "aws_vpc_security_group_egress_rule" "https" {
  security_group_id = aws_security_group.brokers.id
  description       = "S3, secrets, the binary"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "control_plane" {
  for_each = local.embedded ? toset([]) : var.external_control_plane.cidr_blocks

  security_group_id = aws_security_group.brokers.id
  description       = "External etcd and NATS"
  ip_protocol       = "tcp"
  from_port         = 1
  to_port           = 65535
  cidr_ipv4         = each.value
  tags              = local.tags
}

resource "aws_vpc_endpoint" "s3" {
  count = length(var.s3_endpoint_route_table_ids) > 0 ? 1 : 0

  vpc_id            = var.vpc_id
  service_name      = "com.amazonaws.${data.aws_region.current.name}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = var.s3_endpoint_route_table_ids
  tags              = merge(local.tags, { Name = "${var.name}-s3" })
}
