# Where clients begin: names, or a load balancer. From there they go on to the
# addresses that the brokers advertise.
resource "aws_route53_record" "broker" {
  # checkov:skip=CKV2_AWS_23:It leads to the network interface of a broker, whose address is not known to checkov.
  for_each = var.dns == null ? {} : var.brokers

  zone_id = var.dns.zone_id
  name    = "broker-${each.key}.${var.dns.domain}"
  type    = "A"
  ttl     = 60
  records = [local.addresses[each.key]]
}

resource "aws_route53_record" "bootstrap" {
  count = var.dns == null ? 0 : 1

  zone_id = var.dns.zone_id
  name    = "bootstrap.${var.dns.domain}"
  type    = var.bootstrap == "nlb" ? "CNAME" : "A"
  ttl     = 60
  records = var.bootstrap == "nlb" ? [aws_lb.bootstrap[0].dns_name] : [for id in local.ids : local.addresses[id]]
}

resource "aws_lb" "bootstrap" {
  # checkov:skip=CKV_AWS_91:Access logs of a network load balancer have TLS connections only, and brokers end TLS themselves.
  # checkov:skip=CKV_AWS_150:Optional (deletion_protection), on by default.
  count = var.bootstrap == "nlb" ? 1 : 0

  name                             = var.name
  load_balancer_type               = "network"
  internal                         = true
  subnets                          = distinct([for id in local.ids : var.brokers[id].subnet_id])
  security_groups                  = [aws_security_group.nlb[0].id]
  enable_cross_zone_load_balancing = true
  enable_deletion_protection       = var.deletion_protection
  tags                             = local.tags
}

resource "aws_lb_target_group" "bootstrap" {
  # checkov:skip=CKV_AWS_378:The protocol is Kafka over TCP; TLS, if there is any, ends in the broker.
  count = var.bootstrap == "nlb" ? 1 : 0

  name                 = var.name
  vpc_id               = var.vpc_id
  target_type          = "ip" # of the network interfaces, which outlive instances
  protocol             = "TCP"
  port                 = local.client_port
  deregistration_delay = 30
  tags                 = local.tags

  health_check {
    protocol            = var.tls == null ? "HTTP" : "HTTPS"
    port                = local.http_port
    path                = "/readyz"
    interval            = 10
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_target_group_attachment" "bootstrap" {
  for_each = var.bootstrap == "nlb" ? var.brokers : {}

  target_group_arn = aws_lb_target_group.bootstrap[0].arn
  target_id        = local.addresses[each.key]
  port             = local.client_port
}

resource "aws_lb_listener" "bootstrap" {
  # checkov:skip=CKV_AWS_2:The protocol is Kafka over TCP; TLS, if there is any, ends in the broker.
  # checkov:skip=CKV_AWS_103:As above.
  count = var.bootstrap == "nlb" ? 1 : 0

  load_balancer_arn = aws_lb.bootstrap[0].arn
  protocol          = "TCP"
  port              = local.client_port
  tags              = local.tags

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.bootstrap[0].arn
  }
}

resource "aws_security_group" "nlb" {
  count = var.bootstrap == "nlb" ? 1 : 0

  name        = "${var.name}-bootstrap"
  description = "Bootstrap load balancer of Varve ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-bootstrap" })
}

resource "aws_vpc_security_group_ingress_rule" "nlb" {
  for_each = var.bootstrap != "nlb" ? {} : { for name, rule in local.ingress : name => rule if rule.port == local.client_port }

  security_group_id            = aws_security_group.nlb[0].id
  description                  = each.key
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = each.value.group
  cidr_ipv4                    = each.value.cidr
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "nlb" {
  for_each = var.bootstrap != "nlb" ? {} : { clients = local.client_port, health = local.http_port }

  security_group_id            = aws_security_group.nlb[0].id
  description                  = "To the brokers: ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.brokers.id
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "from_nlb" {
  for_each = var.bootstrap != "nlb" ? {} : { clients = local.client_port, health = local.http_port }

  security_group_id            = aws_security_group.brokers.id
  description                  = "From the load balancer: ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.nlb[0].id
  tags                         = local.tags
}
